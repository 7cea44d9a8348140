//! Tools that a chat request offers, and whether the model must call one.
//!
//! With `tool_choice` "auto" the model writes what it wants, and calls are found in it. With "required", "any" or a
//! function's name the answer is made to be calls. With "none" the model is not shown the tools at all.

use hearth_inference::{Constraint, Tool};
use serde_json::{Map, Value, json};

use super::body::{Fields, shown};
use super::error::OpenAiError;

/// Most tools of one request.
pub(crate) const MAX_TOOLS: usize = 128;
/// Longest name of a function; the API's own bound.
const MAX_NAME_CHARS: usize = 64;

/// Tools that the model is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// As they were given.
    pub shown: Vec<Value>,
    /// Their functions.
    pub functions: Vec<Tool>,
    /// That some of them must be called.
    pub constraint: Option<Constraint>,
    /// Whether there may be more than one call.
    pub parallel: bool,
}

/// The tools of a request; `None` if the model is shown none.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub(super) fn tools(fields: Fields<'_>) -> Result<Option<Tools>, OpenAiError> {
    let parallel = match fields.get("parallel_tool_calls") {
        None => true,
        Some(_) => fields.boolean("parallel_tool_calls")?,
    };
    let (mut given, mut all) = (Vec::new(), Vec::<Tool>::new());
    match fields.get("tools") {
        None => {}
        Some(Value::Array(list)) if list.len() <= MAX_TOOLS => {
            for (index, value) in list.iter().enumerate() {
                let tool = tool(&format!("tools[{index}]"), value)?;
                if all.iter().any(|other| other.name == tool.name) {
                    let at = format!("tools[{index}].function.name");
                    return Err(OpenAiError::invalid(&at, format!("{at} is the name of another tool too")));
                }
                given.push(value.clone());
                all.push(tool);
            }
        }
        Some(Value::Array(list)) => {
            let message = format!("tools may hold at most {MAX_TOOLS} tools, not {}", list.len());
            return Err(OpenAiError::invalid("tools", message));
        }
        Some(_) => return Err(OpenAiError::invalid("tools", "tools must be a list")),
    }
    let functions = all.clone();
    let must_call = match choice(fields.get("tool_choice"))? {
        Choice::None => return Ok(None),
        Choice::Auto if all.is_empty() => return Ok(None),
        Choice::Auto => None,
        Choice::Required | Choice::Named(_) if all.is_empty() => {
            return Err(OpenAiError::invalid(
                "tool_choice",
                "tool_choice asks for a call, but there are no tools",
            ));
        }
        Choice::Required => Some(all),
        Choice::Named(name) => {
            all.retain(|tool| tool.name == name);
            if all.is_empty() {
                let message = format!("tool_choice names {:?}, which is none of the tools", shown(&name));
                return Err(OpenAiError::invalid("tool_choice", message));
            }
            Some(all)
        }
    };
    let constraint = must_call.map(|tools| Constraint::ToolCalls { tools, parallel });
    Ok(Some(Tools { shown: given, functions, constraint, parallel }))
}

enum Choice {
    None,
    Auto,
    Required,
    Named(String),
}

fn choice(value: Option<&Value>) -> Result<Choice, OpenAiError> {
    let name = |value: &Value| {
        let is_function = value["type"] == "function";
        value["function"]["name"].as_str().filter(|_| is_function).map(|name| Choice::Named(name.to_owned()))
    };
    let choice = match value {
        None => Some(Choice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "none" => Some(Choice::None),
            "auto" => Some(Choice::Auto),
            "required" | "any" => Some(Choice::Required),
            _ => None,
        },
        Some(value) => name(value),
    };
    choice.ok_or_else(|| {
        let message = "tool_choice must be \"none\", \"auto\", \"required\", \"any\" or \
                       {\"type\": \"function\", \"function\": {\"name\": NAME}}";
        OpenAiError::invalid("tool_choice", message)
    })
}

/// `{"type": "function", "function": {"name", "description", "parameters", "strict"}}`.
fn tool(at: &str, value: &Value) -> Result<Tool, OpenAiError> {
    let object = |at: &str, value: Option<&Value>| match value {
        Some(Value::Object(members)) => Ok(members.clone()),
        _ => Err(OpenAiError::invalid(at, format!("{at} must be an object"))),
    };
    let members = object(at, Some(value))?;
    known(at, &members, &["type", "function"])?;
    if members.get("type").and_then(Value::as_str) != Some("function") {
        let at = format!("{at}.type");
        return Err(OpenAiError::invalid(&at, format!("{at} must be \"function\"")));
    }
    let at = format!("{at}.function");
    let function = object(&at, members.get("function"))?;
    known(&at, &function, &["name", "description", "parameters", "strict"])?;
    let is_name = |name: &&str| {
        !name.is_empty()
            && name.len() <= MAX_NAME_CHARS
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    let Some(name) = function.get("name").and_then(Value::as_str).filter(is_name) else {
        let at = format!("{at}.name");
        let message = format!("{at} must be 1 to {MAX_NAME_CHARS} letters, digits, underscores and hyphens");
        return Err(OpenAiError::invalid(&at, message));
    };
    for (name, is_right, what) in [
        ("description", Value::is_string as fn(&Value) -> bool, "a string"),
        ("strict", Value::is_boolean, "true or false"),
    ] {
        if function.get(name).is_some_and(|value| !is_right(value) && !value.is_null()) {
            let at = format!("{at}.{name}");
            return Err(OpenAiError::invalid(&at, format!("{at} must be {what}")));
        }
    }
    let mut parameters = match function.get("parameters") {
        None | Some(Value::Null) => Map::from_iter([("properties".to_owned(), json!({}))]),
        value => object(&format!("{at}.parameters"), value)?,
    };
    // Arguments are an object, also where the schema does not say so.
    match parameters.get("type") {
        None => _ = parameters.insert("type".to_owned(), json!("object")),
        Some(kind) if kind == "object" => {}
        Some(_) => {
            let at = format!("{at}.parameters.type");
            return Err(OpenAiError::invalid(&at, format!("{at} must be \"object\"")));
        }
    }
    Ok(Tool { name: name.to_owned(), parameters: parameters.into() })
}

fn known(at: &str, members: &Map<String, Value>, names: &[&str]) -> Result<(), OpenAiError> {
    match members.iter().find(|(name, value)| !names.contains(&name.as_str()) && !value.is_null()) {
        None => Ok(()),
        Some((name, _)) => Err(OpenAiError::unsupported(&format!("{at}.{}", shown(name)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<Option<Tools>, String> {
        tools(Fields(body.as_object().unwrap())).map_err(|error| error.message)
    }

    fn function(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
    }

    #[test]
    fn the_choice_says_what_is_shown_and_what_must_be_called() {
        let called = |choice: Value| -> Option<(Vec<String>, bool)> {
            let body = json!({"tools": [function("a"), function("b")], "tool_choice": choice,
                "parallel_tool_calls": false});
            let tools = read(body).unwrap().unwrap();
            assert_eq!((tools.shown.len(), tools.functions.len(), tools.parallel), (2, 2, false));
            tools.constraint.map(|constraint| match constraint {
                Constraint::ToolCalls { tools, parallel } => {
                    (tools.into_iter().map(|tool| tool.name).collect(), parallel)
                }
                _ => panic!("calls"),
            })
        };
        let names = |names: &[&str]| Some((names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), false));
        assert_eq!(called(json!("auto")), None);
        assert_eq!(called(Value::Null), None);
        assert_eq!(called(json!("required")), names(&["a", "b"]));
        assert_eq!(called(json!("any")), names(&["a", "b"]));
        assert_eq!(called(json!({"type": "function", "function": {"name": "b"}})), names(&["b"]));
        assert_eq!(read(json!({"tools": [function("a")], "tool_choice": "none"})), Ok(None));
        assert_eq!(read(json!({"tools": []})), Ok(None));
        assert_eq!(read(json!({})), Ok(None));
        assert!(read(json!({"tools": [function("a")]})).unwrap().unwrap().parallel);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |body: Value, expect: &str| assert_eq!(read(body.clone()).unwrap_err(), expect, "{body}");
        let one = |function: Value| json!({"tools": [{"type": "function", "function": function}]});
        check(json!({"tools": {}}), "tools must be a list");
        check(json!({"tools": [1]}), "tools[0] must be an object");
        check(json!({"tools": vec![1; 129]}), "tools may hold at most 128 tools, not 129");
        check(json!({"tools": [{"type": "web"}]}), "tools[0].type must be \"function\"");
        check(json!({"tools": [{"type": "function"}]}), "tools[0].function must be an object");
        check(json!({"tools": [{"type": "function", "x": 1}]}), "tools[0].x is not supported yet");
        let name = "tools[0].function.name must be 1 to 64 letters, digits, underscores and hyphens";
        check(one(json!({})), name);
        check(one(json!({"name": "a b"})), name);
        check(one(json!({"name": "a".repeat(65)})), name);
        check(one(json!({"name": "a", "description": 1})), "tools[0].function.description must be a string");
        check(one(json!({"name": "a", "strict": {}})), "tools[0].function.strict must be true or false");
        check(one(json!({"name": "a", "parameters": 1})), "tools[0].function.parameters must be an object");
        check(
            one(json!({"name": "a", "parameters": {"type": "array"}})),
            "tools[0].function.parameters.type must be \"object\"",
        );
        check(one(json!({"name": "a", "colour": 1})), "tools[0].function.colour is not supported yet");
        check(
            json!({"tools": [function("a"), function("a")]}),
            "tools[1].function.name is the name of another tool too",
        );
        check(json!({"tool_choice": "required"}), "tool_choice asks for a call, but there are no tools");
        check(
            json!({"tools": [function("a")], "tool_choice": {"type": "function", "function": {"name": "b"}}}),
            "tool_choice names \"b\", which is none of the tools",
        );
        let form = "tool_choice must be \"none\", \"auto\", \"required\", \"any\" or \
                    {\"type\": \"function\", \"function\": {\"name\": NAME}}";
        check(json!({"tool_choice": "sometimes"}), form);
        check(json!({"tool_choice": {"type": "function"}}), form);
        check(json!({"parallel_tool_calls": 1}), "parallel_tool_calls must be true or false");
    }
}
