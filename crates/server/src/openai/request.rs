//! Reading the body of a request: every field is acted on or refused by name.

use hearth_inference::{ChatInput, Input, MAX_CHOICES};
use serde_json::Value;

use super::body::{Fields, object};
use super::error::OpenAiError;
use super::fields::{self, Endpoint};
use super::messages::messages;
use super::options::Options;
use super::tools::{Tools, tools};

/// What is to be continued, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What both endpoints have.
    pub options: Options,
    /// The conversation, or the prompts.
    pub inputs: Vec<Input>,
    /// Tools that the model is shown.
    pub tools: Option<Tools>,
}

impl Request {
    /// Reads the body of a chat request. `random_seed` is used when the request has no seed.
    ///
    /// # Errors
    /// The first thing that is wrong, with the field's name.
    pub fn chat(body: &[u8], random_seed: u64) -> Result<Self, OpenAiError> {
        let body = object(body)?;
        fields::check(&body, Endpoint::Chat)?;
        let fields = Fields(&body);
        let mut options = Options::read(fields, random_seed)?;
        let tools = tools(fields)?;
        if let Some(tools) = &tools {
            if options.constraint.is_some() {
                let message = "response_format does not go with tools; leave one of them out, or set tool_choice to \
                               \"none\"";
                return Err(OpenAiError::invalid("response_format", message));
            }
            options.constraint.clone_from(&tools.constraint);
        }
        let chat = ChatInput {
            messages: messages(fields.get("messages"))?,
            tools: tools.as_ref().map_or_else(Vec::new, |tools| tools.shown.clone()),
            truncate_tokens: fields.count("prompt_truncate_len")?,
        };
        Ok(Self { options, inputs: vec![Input::Chat(chat)], tools })
    }

    /// Reads the body of a completion request, as [`Request::chat`].
    ///
    /// # Errors
    /// The first thing that is wrong, with the field's name.
    pub fn completion(body: &[u8], random_seed: u64) -> Result<Self, OpenAiError> {
        let body = object(body)?;
        fields::check(&body, Endpoint::Completions)?;
        let fields = Fields(&body);
        let options = Options::read(fields, random_seed)?;
        Ok(Self { options, inputs: prompts(fields.get("prompt"))?, tools: None })
    }
}

/// A text, a list of texts, a list of tokens, or a list of such lists.
fn prompts(value: Option<&Value>) -> Result<Vec<Input>, OpenAiError> {
    let form = || {
        let message =
            "prompt must be a string, a list of strings, a list of token ids or a list of such lists";
        OpenAiError::invalid("prompt", message)
    };
    let tokens = |list: &[Value]| -> Option<Input> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        list.iter().map(id).collect::<Option<Vec<u32>>>().map(Input::Tokens)
    };
    let inputs = match value {
        None => return Err(OpenAiError::invalid("prompt", "prompt is required")),
        Some(Value::String(text)) => Some(vec![Input::Text(text.clone())]),
        Some(Value::Array(list)) => match list.first() {
            None => return Err(OpenAiError::invalid("prompt", "prompt must not be empty")),
            Some(Value::Number(_)) => tokens(list).map(|input| vec![input]),
            Some(_) if list.len() > MAX_CHOICES => {
                let message = format!("prompt may hold at most {MAX_CHOICES} prompts, not {}", list.len());
                return Err(OpenAiError::invalid("prompt", message));
            }
            Some(_) => list
                .iter()
                .map(|prompt| match prompt {
                    Value::String(text) => Some(Input::Text(text.clone())),
                    Value::Array(list) => tokens(list),
                    _ => None,
                })
                .collect(),
        },
        Some(_) => None,
    };
    inputs.ok_or_else(form)
}

#[cfg(test)]
mod tests;
