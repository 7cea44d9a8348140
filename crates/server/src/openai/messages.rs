//! The messages of a chat request.

use hearth_data::{Message, Role, ToolCall};
use serde_json::{Map, Value};

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
    let role = role(&format!("{at}.role"), fields.get("role"))?;
    let members: &[&str] = match role {
        Role::System | Role::User => &["role", "content", "name"],
        Role::Assistant => &["role", "content", "name", "reasoning_content", "tool_calls"],
        Role::Tool => &["role", "content", "tool_call_id", "name"],
    };
    let says_nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if let Some((name, _)) =
        fields.iter().find(|(name, value)| !members.contains(&name.as_str()) && !says_nothing(value))
    {
        return Err(OpenAiError::unsupported(&format!("{at}.{}", shown(name))));
    }
    let tool_calls = tool_calls(&format!("{at}.tool_calls"), fields.get("tool_calls"))?;
    let content = match fields.get("content") {
        // Who calls need not say anything.
        None | Some(Value::Null) if !tool_calls.is_empty() => String::new(),
        value => content(&format!("{at}.content"), value)?,
    };
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(OpenAiError::invalid(format!("{at}.{name}"), format!("{at}.{name} must be a string"))),
    };
    let (tool_call_id, name, reasoning_content) =
        (text("tool_call_id")?, text("name")?, text("reasoning_content")?);
    if role == Role::Tool && tool_call_id.is_none() {
        let at = format!("{at}.tool_call_id");
        return Err(OpenAiError::invalid(
            &at,
            format!("{at} is required: the id of the call that is answered"),
        ));
    }
    Ok(Message { reasoning_content, tool_calls, tool_call_id, name, ..Message::new(role, content) })
}

fn role(at: &str, value: Option<&Value>) -> Result<Role, OpenAiError> {
    match value.and_then(Value::as_str) {
        Some("tool") => Ok(Role::Tool),
        Some(name @ ("developer" | "function")) => Err(OpenAiError::unsupported(&format!("{at} \"{name}\""))),
        name => name.and_then(Role::parse).ok_or_else(|| {
            let message = format!("{at} must be \"system\", \"user\", \"assistant\" or \"tool\"");
            OpenAiError::invalid(at, message)
        }),
    }
}

/// Calls that the assistant asked for, as replies show them.
fn tool_calls(at: &str, value: Option<&Value>) -> Result<Vec<ToolCall>, OpenAiError> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(calls)) => {
            calls.iter().enumerate().map(|(i, call)| tool_call(&format!("{at}[{i}]"), call)).collect()
        }
        Some(_) => Err(OpenAiError::invalid(at, format!("{at} must be a list"))),
    }
}

fn tool_call(at: &str, value: &Value) -> Result<ToolCall, OpenAiError> {
    let form = || {
        let message = format!(
            "{at} must be {{\"id\": string, \"type\": \"function\", \"function\": {{\"name\": string, \
             \"arguments\": JSON text of an object}}}}"
        );
        OpenAiError::invalid(at, message)
    };
    let only = |members: &Map<String, Value>, names: &[&str]| {
        members.iter().all(|(name, value)| names.contains(&name.as_str()) || value.is_null())
    };
    // Streamed calls have an index, which clients keep.
    let call = value.as_object().filter(|call| only(call, &["id", "type", "function", "index"]));
    let call = call.ok_or_else(form)?;
    let function = call.get("function").and_then(Value::as_object);
    let function = function.filter(|function| only(function, &["name", "arguments"])).ok_or_else(form)?;
    if call.get("type").is_some_and(|kind| kind != "function") {
        return Err(form());
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned).ok_or_else(form);
    let arguments = match function.get("arguments") {
        Some(Value::Object(arguments)) => arguments.clone(),
        // No arguments at all are written as an empty text by some.
        Some(Value::String(text)) if text.is_empty() => Map::new(),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| form())?,
        _ => return Err(form()),
    };
    Ok(ToolCall { id: text(call.get("id"))?, name: text(function.get("name"))?, arguments })
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
