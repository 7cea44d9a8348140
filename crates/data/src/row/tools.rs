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
        let said = |key| row.get(key).filter(|value| !value.says_nothing());
        let (key, value) = match (said("tools"), said("functions")) {
            (Some(tools), None) => ("tools", tools),
            (None, Some(functions)) => {
                self.spelt(Spelling::Functions);
                ("functions", functions)
            }
            (Some(_), Some(_)) => {
                let what = "a row has either tools or functions, not both";
                self.push(&root, Code::ConflictingFields, what, "keep tools");
                return None;
            }
            (None, None) => return Some(Vec::new()),
        };
        self.places.tools = key;
        let place = root.key(key);
        match value {
            Json::Array(list) => self.tool_list(&place, list),
            Json::String(text) => {
                self.spelt(Spelling::ToolsText);
                match json::parse(self.line, text) {
                    Ok(Json::Array(list)) => {
                        self.in_text(&place, |reading| reading.tool_list(&Place::ROOT, &list))
                    }
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
        if tool.given("type").is_some_and(|kind| kind.as_str() != Some("function")) {
            let what = "only tools of type function are supported";
            self.push(&place.key("type"), Code::BadTool, what, "write \"type\": \"function\"");
            return None;
        }
        let (function, function_place, is_wrapped) = match tool.given("function") {
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
                // So they are written in `functions`.
                if self.places.tools == "tools" {
                    self.spelt(Spelling::BareTools);
                }
                json!({"type": "function", "function": tool.to_value()})
            }
        })
    }

    /// The calls of a message; none is an empty list, and `None` is what was told to be wrong.
    pub(super) fn tool_calls(
        &mut self,
        place: &Place<'_>,
        index: usize,
        message: &Json<'_>,
    ) -> Option<Vec<ToolCall>> {
        if let Some(call) = message.get("function_call").filter(|call| !call.says_nothing()) {
            self.spelt(Spelling::Functions);
            if message.get("tool_calls").is_some_and(|calls| !calls.says_nothing()) {
                let what = "a message has either tool_calls or function_call, not both";
                self.push(place, Code::ConflictingFields, what, "keep tool_calls");
                return None;
            }
            self.places.calls.push((index, "function_call"));
            let call = self.function(&place.key("function_call"), call)?;
            return Some(vec![ToolCall { id: String::new(), ..call }]);
        }
        let place = place.key("tool_calls");
        match message.given("tool_calls") {
            None => Some(Vec::new()),
            Some(Json::Array(list)) => self.call_list(&place, list),
            Some(other) => {
                self.wrong_type(&place, "tool_calls", "a list", other);
                None
            }
        }
    }

    pub(super) fn call_list(&mut self, place: &Place<'_>, list: &[Json<'_>]) -> Option<Vec<ToolCall>> {
        let calls: Vec<Option<ToolCall>> =
            list.iter().enumerate().map(|(index, call)| self.tool_call(&place.index(index), call)).collect();
        calls.into_iter().collect()
    }

    pub(super) fn tool_call(&mut self, place: &Place<'_>, call: &Json<'_>) -> Option<ToolCall> {
        if !matches!(call, Json::Object(_)) {
            self.wrong_type(place, "a call", "a JSON object", call);
            return None;
        }
        let id = match call.get("id") {
            None | Some(Json::Null) => String::new(),
            Some(Json::String(id)) => id.to_string(),
            Some(other) => {
                self.wrong_type(&place.key("id"), "the id of a call", "a string", other);
                return None;
            }
        };
        if call.given("type").is_some_and(|kind| kind.as_str() != Some("function")) {
            let what = "only calls of type function are supported";
            self.push(&place.key("type"), Code::BadToolCall, what, "write \"type\": \"function\"");
            return None;
        }
        let function = match call.given("function") {
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
        let key = match (function.given("arguments"), function.given("parameters")) {
            (None, Some(_)) => {
                self.spelt(Spelling::Arguments);
                "parameters"
            }
            _ => "arguments",
        };
        let place = place.key(key);
        let arguments = match function.given(key) {
            // A call of a function without parameters.
            None => Map::new(),
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
