//! Reading the body of a chat request: every field is acted on or refused by name.

use hearth_data::{Message, Role};
use hearth_inference::SamplingParams;
use serde_json::{Map, Value};

use super::error::OpenAiError;
use super::fields;

/// Tokens of an answer when the request does not say. What the context leaves limits it too.
pub const DEFAULT_MAX_TOKENS: usize = 2048;
/// Temperature when the request does not say.
pub const DEFAULT_TEMPERATURE: f32 = 1.0;
/// Characters of a name from the request that an error repeats.
pub const SHOWN_NAME_CHARS_MAX: usize = 128;

/// A chat request whose fields have the right types. Ranges of sampling parameters are checked by inference.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// Full name of the model.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Most tokens of the answer.
    pub max_tokens: usize,
    /// Stop strings.
    pub stop: Vec<String>,
    /// Whether the answer is sent as it comes.
    pub stream: bool,
    /// Whether a stream ends with a chunk that tells the usage.
    pub include_usage: bool,
}

impl ChatRequest {
    /// Reads the body. `random_seed` is used when the request has no seed.
    ///
    /// # Errors
    /// The first thing that is wrong, with the field's name.
    pub fn parse(body: &[u8], random_seed: u64) -> Result<Self, OpenAiError> {
        let value: Value = serde_json::from_slice(body).map_err(|e| OpenAiError {
            param: None,
            code: "invalid_json",
            // serde_json's text says line and column, and quotes nothing of the body but single characters.
            ..OpenAiError::invalid("", format!("the request body is not valid JSON: {e}"))
        })?;
        let Value::Object(body) = value else {
            return Err(OpenAiError {
                param: None,
                ..OpenAiError::invalid("", "the request body must be an object")
            });
        };
        fields::check(&body)?;
        let fields = Fields(&body);
        if fields.integer("n")?.is_some_and(|n| n != 1) {
            return Err(OpenAiError::unsupported("n"));
        }
        fields.string("user")?;
        let stream = fields.boolean("stream")?.unwrap_or(false);
        Ok(Self {
            model: fields
                .string("model")?
                .ok_or_else(|| OpenAiError::invalid("model", "model is required"))?
                .to_owned(),
            messages: messages(fields.get("messages"))?,
            sampling: SamplingParams {
                temperature: fields.number("temperature")?.unwrap_or(DEFAULT_TEMPERATURE),
                top_p: fields.number("top_p")?.unwrap_or(1.0),
                seed: fields.integer("seed")?.map_or(random_seed, |seed| seed as u64),
            },
            max_tokens: max_tokens(&fields)?,
            stop: stop(fields.get("stop"))?,
            stream,
            include_usage: include_usage(fields.get("stream_options"), stream)?,
        })
    }
}

/// Typed access to an object's members; `null` is the same as absent.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        name: &str,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, OpenAiError> {
        self.get(name)
            .map(|value| {
                read(value).ok_or_else(|| OpenAiError::invalid(name, format!("{name} must be {what}")))
            })
            .transpose()
    }

    fn string(&self, name: &str) -> Result<Option<&'a str>, OpenAiError> {
        self.typed(name, "a string", Value::as_str)
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>, OpenAiError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    fn number(&self, name: &str) -> Result<Option<f32>, OpenAiError> {
        self.typed(name, "a number", |value| value.as_f64().map(|x| x as f32))
    }

    fn integer(&self, name: &str) -> Result<Option<i64>, OpenAiError> {
        self.typed(name, "a 64-bit integer", Value::as_i64)
    }
}

/// `max_tokens` and `max_completion_tokens` are two names of one number.
fn max_tokens(fields: &Fields<'_>) -> Result<usize, OpenAiError> {
    let name = match (fields.get("max_tokens"), fields.get("max_completion_tokens")) {
        (Some(a), Some(b)) if a != b => {
            let message = "max_tokens and max_completion_tokens differ; give one of them";
            return Err(OpenAiError::invalid("max_tokens", message));
        }
        (None, Some(_)) => "max_completion_tokens",
        _ => "max_tokens",
    };
    match fields.integer(name)? {
        None => Ok(DEFAULT_MAX_TOKENS),
        Some(n) => usize::try_from(n)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| OpenAiError::invalid(name, format!("{name} must be at least 1, not {n}"))),
    }
}

fn stop(value: Option<&Value>) -> Result<Vec<String>, OpenAiError> {
    let strings = match value {
        None => Some(Vec::new()),
        Some(Value::String(one)) => Some(vec![one.clone()]),
        Some(Value::Array(many)) => many.iter().map(|s| s.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    strings.ok_or_else(|| OpenAiError::invalid("stop", "stop must be a string or a list of strings"))
}

fn include_usage(value: Option<&Value>, stream: bool) -> Result<bool, OpenAiError> {
    let Some(value) = value else { return Ok(false) };
    if !stream {
        return Err(OpenAiError::invalid("stream_options", "stream_options needs stream to be true"));
    }
    let Value::Object(options) = value else {
        return Err(OpenAiError::invalid("stream_options", "stream_options must be an object"));
    };
    let off = |value: &Value| value.is_null() || *value == Value::Bool(false);
    if let Some((name, _)) = options.iter().find(|(name, value)| *name != "include_usage" && !off(value)) {
        let name: String = name.chars().take(SHOWN_NAME_CHARS_MAX).collect();
        return Err(OpenAiError::unsupported(&format!("stream_options.{name}")));
    }
    Ok(Fields(options).boolean("include_usage")?.unwrap_or(false))
}

fn messages(value: Option<&Value>) -> Result<Vec<Message>, OpenAiError> {
    let Some(value) = value else {
        return Err(OpenAiError::invalid("messages", "messages is required"));
    };
    match value.as_array() {
        Some(list) if !list.is_empty() => {
            list.iter().enumerate().map(|(i, value)| message(&format!("messages[{i}]"), value)).collect()
        }
        Some(_) => Err(OpenAiError::invalid("messages", "messages must not be empty")),
        None => Err(OpenAiError::invalid("messages", "messages must be a list")),
    }
}

fn message(at: &str, value: &Value) -> Result<Message, OpenAiError> {
    let Value::Object(fields) = value else {
        return Err(OpenAiError::invalid(at, format!("{at} must be an object")));
    };
    if let Some((name, _)) =
        fields.iter().find(|(name, value)| *name != "role" && *name != "content" && !value.is_null())
    {
        let name: String = name.chars().take(SHOWN_NAME_CHARS_MAX).collect();
        return Err(OpenAiError::unsupported(&format!("{at}.{name}")));
    }
    let Some(role) = fields.get("role").and_then(Value::as_str) else {
        let at = format!("{at}.role");
        return Err(OpenAiError::invalid(&at, format!("{at} must be \"system\", \"user\" or \"assistant\"")));
    };
    let Some(role) = Role::parse(role) else {
        let at = format!("{at}.role");
        if ["developer", "tool", "function"].contains(&role) {
            return Err(OpenAiError::unsupported(&format!("{at} \"{role}\"")));
        }
        return Err(OpenAiError::invalid(&at, format!("{at} must be \"system\", \"user\" or \"assistant\"")));
    };
    Ok(Message::new(role, content(&format!("{at}.content"), fields.get("content"))?))
}

/// A string, or a list of text parts, which are joined without a separator, as in training.
fn content(at: &str, value: Option<&Value>) -> Result<String, OpenAiError> {
    match value {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            parts.iter().enumerate().map(|(i, part)| text_part(&format!("{at}[{i}]"), part)).collect()
        }
        _ => Err(OpenAiError::invalid(at, format!("{at} must be a string or a list of text parts"))),
    }
}

fn text_part(at: &str, part: &Value) -> Result<String, OpenAiError> {
    match (part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
        (Some("text"), Some(text)) if part.as_object().is_some_and(|part| part.len() == 2) => {
            Ok(text.to_owned())
        }
        (Some("image_url" | "input_audio" | "file" | "video_url"), _) => {
            Err(OpenAiError::unsupported(&format!("{at}.type")))
        }
        _ => Err(OpenAiError::invalid(at, format!("{at} must be {{\"type\": \"text\", \"text\": string}}"))),
    }
}

#[cfg(test)]
mod tests;
