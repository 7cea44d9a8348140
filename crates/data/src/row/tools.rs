//! Tools of chat rows, and their calls.

use serde_json::{Map, Value, json};

use super::{Reading, Spelling, ToolCall};
use crate::finding::Code;
use crate::json::{self, Json, Place};

/// Most tools of a row.
pub(super) const MAX_TOOLS: usize = 512;

impl Reading {
    /// The tools of a row, verbatim but for the wrapping that OpenAI gives them.
    pub(super) fn tools(&mut self, row: &Json<'_>) -> Option<Vec<Value>> {
        let root = Place::ROOT;
        let (key, value) = match (row.get("tools"), row.get("functions")) {
            (Some(tools), _) if !tools.says_nothing() => ("tools", tools),
            (_, Some(functions)) if !functions.says_nothing() => {
                self.spelt(Spelling::Functions);
                ("functions", functions)
            }
            _ => return Some(Vec::new()),
        };
        let place = root.key(key);
        match value {
            Json::Array(list) => self.tool_list(&place, list),
            Json::String(text) => {
                self.spelt(Spelling::ToolsText);
                match json::parse(self.line, text) {
                    Ok(Json::Array(list)) => self.tool_list(&place, &list),
                    Ok(_) => {
                        let what = format!("the text in {key} holds no list");
                        self.push(&place, Code::BadTool, what, "write a list of tools");
                        None
                    }
                    Err(found) => {
                        let what = format!("the text in {key} is no usable JSON: {}", found[0].message);
                        self.push(&place, Code::BadTool, what, "write a list of tools");
                        None
                    }
                }
            }
            other => {
                self.wrong_type(&place, key, "a list", other);
                None
            }
        }
    }

    fn tool_list(&mut self, place: &Place<'_>, list: &[Json<'_>]) -> Option<Vec<Value>> {
        if list.len() > MAX_TOOLS {
            let what = format!("a row has at most {MAX_TOOLS} tools, this one has {}", list.len());
            self.push(place, Code::BadTool, what, "keep those that the conversation is about");
            return None;
        }
        let tools: Vec<Option<Value>> =
            list.iter().enumerate().map(|(index, tool)| self.tool(&place.index(index), tool)).collect();
        tools.into_iter().collect()
    }

    fn tool(&mut self, place: &Place<'_>, tool: &Json<'_>) -> Option<Value> {
        if !matches!(tool, Json::Object(_)) {
            self.wrong_type(place, "a tool", "a JSON object", tool);
            return None;
        }
        if tool.get("type").is_some_and(|kind| kind.as_str() != Some("function")) {
            let what = "only tools of type function are supported";
            self.push(&place.key("type"), Code::BadTool, what, "write \"type\": \"function\"");
            return None;
        }
        let (function, function_place, is_wrapped) = match tool.get("function") {
            Some(function) => (function, place.key("function"), true),
            None => (tool, *place, false),
        };
        match function.get("name") {
            Some(Json::String(name)) if !name.is_empty() => {}
            _ => {
                let what = "a tool needs a name, a string";
                self.push(&function_place, Code::BadTool, what, "add \"name\" to its function");
                return None;
            }
        }
        if let Some(parameters) = function.get("parameters")
            && !matches!(parameters, Json::Object(_) | Json::Null)
        {
            let what = format!("the parameters of a tool are a JSON schema, this is {}", parameters.kind());
            self.push(&function_place.key("parameters"), Code::BadTool, what, "write an object");
            return None;
        }
        Some(match is_wrapped {
            true => tool.to_value(),
            false => {
                self.spelt(Spelling::Functions);
                json!({"type": "function", "function": tool.to_value()})
            }
        })
    }

    /// The calls of a message; none is an empty list, and `None` is what was told to be wrong.
    pub(super) fn tool_calls(&mut self, place: &Place<'_>, message: &Json<'_>) -> Option<Vec<ToolCall>> {
        if let Some(call) = message.get("function_call").filter(|call| !call.says_nothing()) {
            self.spelt(Spelling::Functions);
            let call = self.function(&place.key("function_call"), call)?;
            return Some(vec![ToolCall { id: String::new(), ..call }]);
        }
        let place = place.key("tool_calls");
        let list = match message.get("tool_calls") {
            None | Some(Json::Null) => return Some(Vec::new()),
            Some(Json::Array(list)) => list,
            Some(other) => {
                self.wrong_type(&place, "tool_calls", "a list", other);
                return None;
            }
        };
        let calls: Vec<Option<ToolCall>> =
            list.iter().enumerate().map(|(index, call)| self.tool_call(&place.index(index), call)).collect();
        calls.into_iter().collect()
    }

    fn tool_call(&mut self, place: &Place<'_>, call: &Json<'_>) -> Option<ToolCall> {
        let id = match call.get("id") {
            None | Some(Json::Null) => String::new(),
            Some(Json::String(id)) => id.to_string(),
            Some(other) => {
                self.wrong_type(&place.key("id"), "the id of a call", "a string", other);
                return None;
            }
        };
        if call
            .get("type")
            .is_some_and(|kind| !matches!(kind, Json::Null) && kind.as_str() != Some("function"))
        {
            let what = "only calls of type function are supported";
            self.push(&place.key("type"), Code::BadToolCall, what, "write \"type\": \"function\"");
            return None;
        }
        let function = match call.get("function") {
            Some(function) => self.function(&place.key("function"), function),
            None => self.function(place, call),
        };
        Some(ToolCall { id, ..function? })
    }

    /// Name and arguments.
    fn function(&mut self, place: &Place<'_>, function: &Json<'_>) -> Option<ToolCall> {
        let name = match function.get("name") {
            Some(Json::String(name)) if !name.is_empty() => name.to_string(),
            _ => {
                let what = "a call needs the name of a function, a string";
                self.push(place, Code::BadToolCall, what, "add \"name\"");
                return None;
            }
        };
        let place = place.key("arguments");
        let arguments = match function.get("arguments") {
            // A call of a function without parameters.
            None | Some(Json::Null) => Map::new(),
            Some(Json::String(text)) if text.trim().is_empty() => Map::new(),
            Some(Json::String(text)) => match json::parse(self.line, text) {
                Ok(Json::Object(members)) => json::object(&members),
                Ok(other) => {
                    let what = format!("the arguments of a call hold {}, not an object", other.kind());
                    self.push(&place, Code::BadArguments, what, "write the JSON text of an object");
                    return None;
                }
                Err(found) => {
                    let what = format!("the arguments of a call are no usable JSON: {}", found[0].message);
                    self.push(&place, Code::BadArguments, what, "write the JSON text of an object");
                    return None;
                }
            },
            Some(Json::Object(members)) => {
                self.spelt(Spelling::Arguments);
                json::object(members)
            }
            Some(other) => {
                self.wrong_type(
                    &place,
                    "the arguments of a call",
                    "a string that holds a JSON object",
                    other,
                );
                return None;
            }
        };
        Some(ToolCall { id: String::new(), name, arguments })
    }
}
