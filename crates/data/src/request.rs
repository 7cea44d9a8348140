//! Rows of batch inference: `{"custom_id": string, "body": {...}}`, where the body is a chat request without its model.
//!
//! Only their form is checked here. Whether a model can answer a request is seen when it does.

use serde_json::{Map, Value};

use crate::finding::{BadRow, Code, Finding};
use crate::json::{self, Json, Place};
use crate::read::text_of;

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
    /// Reads one line.
    pub fn from_bytes(line: u64, bytes: &[u8]) -> Result<Self, BadRow> {
        let value = json::parse(line, text_of(line, bytes)?).map_err(BadRow::new)?;
        Ok(Self::from_json(line, &value)?)
    }

    /// Reads one line's JSON value. Keys beside `custom_id` and `body` are allowed and have no effect.
    pub fn from_json(line: u64, value: &Json<'_>) -> Result<Self, Finding> {
        let root = Place::ROOT;
        let wrong = |place: &Place<'_>, what: &str, expected: &str, value: &Json<'_>| {
            let message = format!("{what} must be {expected}, this is {}", value.kind());
            Finding::new(line, place.pointer(), Code::WrongType, message, format!("write {expected}"))
        };
        let missing = |place: &Place<'_>, what: &str, field: &str| {
            let message = format!("{what} needs the field {field}");
            Finding::new(line, place.pointer(), Code::MissingField, message, format!("add {field}"))
        };
        if !matches!(value, Json::Object(_)) {
            return Err(wrong(&root, "a row", "a JSON object", value));
        }
        let place = root.key("custom_id");
        let custom_id = match value.get("custom_id") {
            Some(Json::String(id)) if (1..=CUSTOM_ID_MAX_BYTES).contains(&id.len()) => id.to_string(),
            Some(Json::String(_)) => {
                let message = format!("custom_id must have 1 to {CUSTOM_ID_MAX_BYTES} bytes");
                let fix = "write a short id of its own for each row";
                return Err(Finding::new(line, place.pointer(), Code::WrongType, message, fix));
            }
            Some(other) => return Err(wrong(&place, "custom_id", "a string", other)),
            None => return Err(missing(&root, "a row of batch inference", "custom_id")),
        };
        let place = root.key("body");
        let body = match value.get("body") {
            Some(Json::Object(body)) => body,
            Some(other) => return Err(wrong(&place, "body", "a JSON object", other)),
            None => return Err(missing(&root, "a row of batch inference", "body")),
        };
        match value.get("body").and_then(|body| body.get("messages")) {
            Some(Json::Array(messages)) if !messages.is_empty() => {
                Ok(Self { custom_id, body: json::object(body) })
            }
            Some(Json::Array(_)) => {
                let pointer = place.key("messages").pointer();
                Err(Finding::new(line, pointer, Code::EmptyList, "messages is empty", "add a question"))
            }
            Some(other) => Err(wrong(&place.key("messages"), "messages", "a list", other)),
            None => Err(missing(&place, "body", "messages")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_checked_by_their_form() {
        let check = |text: &str, expect: &str| {
            let said = match Request::from_json(1, &json::parse(1, text).unwrap()) {
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
