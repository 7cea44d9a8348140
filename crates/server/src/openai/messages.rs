//! The messages of a chat request.

use hearth_data::{Message, Role};
use serde_json::Value;

use super::body::shown;
use super::error::OpenAiError;

/// The list of messages.
///
/// # Errors
/// Names the place of what is wrong.
pub(super) fn messages(value: Option<&Value>) -> Result<Vec<Message>, OpenAiError> {
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
        return Err(OpenAiError::unsupported(&format!("{at}.{}", shown(name))));
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
