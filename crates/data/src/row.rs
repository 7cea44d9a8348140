//! One row of a dataset: what is accepted, and the sentence for what is not.
//!
//! Two formats exist. A chat row is `{"messages": [{"role", "content", "weight"?}, …]}`; a completion row is
//! `{"prompt": string, "completion": string}`. Keys that would change what is trained and that are not
//! supported are refused by name. Other keys (`id`, `metadata`, …) are allowed and have no effect.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::RowError;

/// Most messages of a conversation. Finding the trained tokens takes a rendering for each answer.
pub const MAX_MESSAGES: usize = 2_000;
/// Longest part of an unknown role or content type that an error shows, in bytes.
const MAX_SHOWN_NAME_BYTES: usize = 24;

/// Keys of a row that would change what is trained, and are not supported.
const REFUSED_ROW_KEYS: [&str; 8] = [
    "tools",
    "functions",
    "weight",
    "tool_choice",
    "parallel_tool_calls",
    "images",
    "reasoning_content",
    "chat_template_kwargs",
];

/// Keys of a message that would change what is trained, and are not supported.
const REFUSED_MESSAGE_KEYS: [&str; 8] = [
    "tool_calls",
    "tool_call_id",
    "function_call",
    "reasoning_content",
    "reasoning",
    "images",
    "audio",
    "name",
];

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions; at most one, and first.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
    /// What a tool answered. Not in rows.
    Tool,
}

impl Role {
    /// The name in rows and templates.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }

    /// The role of this name in rows; `None` for one that they may not have.
    pub fn parse(name: &str) -> Option<Role> {
        [Role::System, Role::User, Role::Assistant].into_iter().find(|role| role.as_str() == name)
    }
}

/// A call of a tool that the model asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What the tool's answer refers to.
    pub id: String,
    /// Name of the function.
    pub name: String,
    /// Its arguments, in the order in which they were given.
    pub arguments: Map<String, Value>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text; text parts are joined without a separator.
    pub content: String,
    /// Whether the loss counts this message: false for `"weight": 0`. Only assistant messages are ever
    /// trained, so it has no effect on the others.
    pub trained: bool,
    /// Calls that the assistant asked for. Not in rows.
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool answers. Not in rows.
    pub tool_call_id: Option<String>,
    /// Name of the tool that answers, if it was given. Not in rows.
    pub name: Option<String>,
}

impl Message {
    /// A message with weight 1 that has nothing to do with tools.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        let content = content.into();
        Message { role, content, trained: true, tool_calls: Vec::new(), tool_call_id: None, name: None }
    }
}

/// Format of a dataset: all its rows have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `messages`.
    Chat,
    /// `prompt` and `completion`.
    Completion,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Line of the file, from 1.
    pub line: u64,
    /// What stands there.
    pub content: RowContent,
}

/// The two kinds of row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowContent {
    /// A conversation with at least one trained assistant message, the last message being the assistant's.
    Chat(Vec<Message>),
    /// Text and its continuation; the continuation is trained.
    Completion {
        /// What is given.
        prompt: String,
        /// What is learnt.
        completion: String,
    },
}

impl Row {
    /// Reads one line's JSON value.
    pub fn from_value(line: u64, value: &Value) -> Result<Row, RowError> {
        let at = At { line };
        let Value::Object(row) = value else {
            return Err(at.error("", format!("a row must be a JSON object, this is {}", kind(value))));
        };
        refuse_keys(&at, "", row, &REFUSED_ROW_KEYS)?;
        let is_completion = row.contains_key("prompt") || row.contains_key("completion");
        let content = match (row.get("messages"), is_completion) {
            (Some(_), true) => {
                return Err(at.error("", "a row has either messages, or prompt and completion, not both"));
            }
            (Some(messages), false) => RowContent::Chat(messages_from(&at, messages)?),
            (None, true) => RowContent::Completion {
                prompt: string_field(&at, row, "prompt")?,
                completion: string_field(&at, row, "completion")?,
            },
            (None, false) => {
                return Err(
                    at.error("", "a row needs the field messages, or the fields prompt and completion")
                );
            }
        };
        Ok(Row { line, content })
    }

    /// The row's format.
    pub fn format(&self) -> Format {
        match self.content {
            RowContent::Chat(_) => Format::Chat,
            RowContent::Completion { .. } => Format::Completion,
        }
    }
}

/// The line that errors name.
struct At {
    line: u64,
}

impl At {
    fn error(&self, pointer: impl Into<String>, message: impl Into<String>) -> RowError {
        RowError::new(self.line, pointer, message)
    }
}

fn messages_from(at: &At, value: &Value) -> Result<Vec<Message>, RowError> {
    let Value::Array(values) = value else {
        return Err(at.error("/messages", format!("messages must be a list, this is {}", kind(value))));
    };
    if values.is_empty() {
        return Err(at.error("/messages", "messages is empty"));
    }
    if values.len() > MAX_MESSAGES {
        let message = format!("a row has at most {MAX_MESSAGES} messages, this one has {}", values.len());
        return Err(at.error("/messages", message));
    }
    let mut messages = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        messages.push(message_from(at, index, value)?);
    }
    let last = messages.len() - 1;
    if messages[last].role != Role::Assistant {
        return Err(at.error(format!("/messages/{last}/role"), "the last message must be from the assistant"));
    }
    if !messages.iter().any(|m| m.role == Role::Assistant && m.trained) {
        return Err(at.error(
            "/messages",
            "every assistant message has weight 0, so nothing would be trained; give one weight 1 or drop the row",
        ));
    }
    Ok(messages)
}

fn message_from(at: &At, index: usize, value: &Value) -> Result<Message, RowError> {
    let pointer = format!("/messages/{index}");
    let Value::Object(message) = value else {
        return Err(at.error(pointer, format!("a message must be a JSON object, this is {}", kind(value))));
    };
    refuse_keys(at, &pointer, message, &REFUSED_MESSAGE_KEYS)?;
    let role = role_from(at, &pointer, message.get("role"))?;
    if role == Role::System && index > 0 {
        return Err(at.error(pointer + "/role", "a system message may only be the first message"));
    }
    let content = content_from(at, &pointer, message.get("content"))?;
    let trained = match message.get("weight") {
        None | Some(Value::Null) => true,
        Some(weight) if weight.as_f64() == Some(1.0) => true,
        Some(weight) if weight.as_f64() == Some(0.0) => false,
        Some(_) => return Err(at.error(pointer + "/weight", "weight must be 0 or 1")),
    };
    Ok(Message { trained, ..Message::new(role, content) })
}

fn role_from(at: &At, pointer: &str, value: Option<&Value>) -> Result<Role, RowError> {
    let name = match value {
        Some(Value::String(name)) => name,
        Some(other) => {
            let message = format!("role must be a string, this is {}", kind(other));
            return Err(at.error(format!("{pointer}/role"), message));
        }
        None => return Err(at.error(pointer, "a message needs the field role")),
    };
    let sentence = match name.as_str() {
        "tool" | "function" => format!("role {name} is not supported yet; use system, user or assistant"),
        _ => match Role::parse(name) {
            Some(role) => return Ok(role),
            None => format!("unknown role{}; use system, user or assistant", shown(name)),
        },
    };
    Err(at.error(format!("{pointer}/role"), sentence))
}

fn content_from(at: &At, pointer: &str, value: Option<&Value>) -> Result<String, RowError> {
    let pointer = format!("{pointer}/content");
    let parts = match value {
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) => parts,
        Some(other) => {
            let message =
                format!("content must be a string or a list of text parts, this is {}", kind(other));
            return Err(at.error(pointer, message));
        }
        None => {
            return Err(at.error(pointer.trim_end_matches("/content"), "a message needs the field content"));
        }
    };
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        let part_kind = match part.get("type") {
            Some(Value::String(name)) => name,
            Some(_) => return Err(at.error(pointer + "/type", "the type of a content part must be a string")),
            None => return Err(at.error(pointer, "a content part must be an object with the field type")),
        };
        match (part_kind.as_str(), part.get("text")) {
            ("text", Some(Value::String(part_text))) => text.push_str(part_text),
            ("text", _) => return Err(at.error(pointer + "/text", "a text part needs the string field text")),
            (name, _) => {
                let message = format!("content parts of type{} are not supported; use text", shown(name));
                return Err(at.error(pointer + "/type", message));
            }
        }
    }
    Ok(text)
}

fn string_field(at: &At, row: &Map<String, Value>, name: &str) -> Result<String, RowError> {
    match row.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => {
            Err(at.error(format!("/{name}"), format!("{name} must be a string, this is {}", kind(other))))
        }
        None => Err(at.error("", format!("a completion row needs the field {name}"))),
    }
}

/// Refuses the named keys, unless their value says "nothing" (null, or an empty list, object or string).
fn refuse_keys(at: &At, pointer: &str, object: &Map<String, Value>, keys: &[&str]) -> Result<(), RowError> {
    for key in keys {
        let says_nothing = match object.get(*key) {
            None | Some(Value::Null) => true,
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(items)) => items.is_empty(),
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Bool(_) | Value::Number(_)) => false,
        };
        if !says_nothing {
            let message = format!("the field {key} is not supported yet; remove it");
            return Err(at.error(format!("{pointer}/{key}"), message));
        }
    }
    Ok(())
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// ` "name"` when it looks like a name, and nothing when it could be content.
fn shown(name: &str) -> String {
    let looks_like_a_name = !name.is_empty()
        && name.len() <= MAX_SHOWN_NAME_BYTES
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if looks_like_a_name { format!(" {name:?}") } else { String::new() }
}

#[cfg(test)]
mod tests;
