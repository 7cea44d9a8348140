//! Rows of batch inference: `{"custom_id": string, "body": {...}}`, where the body is a chat request without its model.
//!
//! Only their form is checked here. Whether a model can answer a request is seen when it does.

use serde_json::{Map, Value};

use crate::error::RowError;
use crate::row::kind;

/// Longest `custom_id`, in bytes.
pub const CUSTOM_ID_MAX_BYTES: usize = 512;

/// A request of batch inference.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What its answer is found by.
    pub custom_id: String,
    /// Fields of the chat request.
    pub body: Map<String, Value>,
}

impl Request {
    /// Reads one line's JSON value. Keys beside `custom_id` and `body` are allowed and have no effect.
    pub fn from_value(line: u64, value: Value) -> Result<Self, RowError> {
        let error = |pointer: &str, message: String| RowError::new(line, pointer, message);
        let Value::Object(mut row) = value else {
            return Err(error("", format!("a row must be a JSON object, this is {}", kind(&value))));
        };
        let custom_id = match row.remove("custom_id") {
            Some(Value::String(id)) if (1..=CUSTOM_ID_MAX_BYTES).contains(&id.len()) => id,
            Some(Value::String(_)) => {
                let message = format!("custom_id must have 1 to {CUSTOM_ID_MAX_BYTES} bytes");
                return Err(error("/custom_id", message));
            }
            Some(other) => {
                return Err(error(
                    "/custom_id",
                    format!("custom_id must be a string, this is {}", kind(&other)),
                ));
            }
            None => return Err(error("", "a row of batch inference needs the field custom_id".to_owned())),
        };
        let body = match row.remove("body") {
            Some(Value::Object(body)) => body,
            Some(other) => {
                return Err(error("/body", format!("body must be a JSON object, this is {}", kind(&other))));
            }
            None => return Err(error("", "a row of batch inference needs the field body".to_owned())),
        };
        match body.get("messages") {
            Some(Value::Array(messages)) if !messages.is_empty() => Ok(Self { custom_id, body }),
            Some(Value::Array(_)) => Err(error("/body/messages", "messages is empty".to_owned())),
            Some(other) => {
                Err(error("/body/messages", format!("messages must be a list, this is {}", kind(other))))
            }
            None => Err(error("/body", "body needs the field messages".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_checked_by_their_form() {
        let check = |text: &str, expect: &str| {
            let said = match Request::from_value(1, serde_json::from_str(text).unwrap()) {
                Ok(request) => request.custom_id,
                Err(error) => format!("{}: {}", error.pointer, error.message),
            };
            assert_eq!(said, expect, "{text}");
        };
        check(r#"{"custom_id": "a", "body": {"messages": [{}], "n": 2}, "method": "POST"}"#, "a");
        check("[]", ": a row must be a JSON object, this is a list");
        check(r#"{"messages": []}"#, ": a row of batch inference needs the field custom_id");
        check(r#"{"custom_id": 1}"#, "/custom_id: custom_id must be a string, this is a number");
        check(r#"{"custom_id": ""}"#, "/custom_id: custom_id must have 1 to 512 bytes");
        check(r#"{"custom_id": "b"}"#, ": a row of batch inference needs the field body");
        check(r#"{"custom_id": "b", "body": []}"#, "/body: body must be a JSON object, this is a list");
        check(r#"{"custom_id": "b", "body": {"messages": []}}"#, "/body/messages: messages is empty");
        check(r#"{"custom_id": "b", "body": {"prompt": "x"}}"#, "/body: body needs the field messages");
    }
}
