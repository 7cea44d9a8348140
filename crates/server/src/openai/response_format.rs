//! The form that a request wants of its answer.
//!
//! Read are OpenAI's form, `{"type": "json_schema", "json_schema": {"name", "schema", "strict"}}`, and the shorter ones
//! of the hosted service: a schema that is `json_schema` itself, `{"type": "json_object", "schema": …}`, schemas as
//! JSON text, and `{"type": "grammar", "grammar": GBNF}`. Answers always keep to a schema, whatever `strict` says.

use hearth_inference::Constraint;
use serde_json::{Map, Value};

use super::body::shown;
use super::error::OpenAiError;

const FIELD: &str = "response_format";

/// The constraint that stands for `response_format`; `None` for plain text.
///
/// # Errors
/// Names what is wrong in it. Whether a schema is supported shows only when it is compiled.
pub(super) fn response_format(value: Option<&Value>) -> Result<Option<Constraint>, OpenAiError> {
    let Some(value) = value else { return Ok(None) };
    let Value::Object(members) = value else {
        return Err(OpenAiError::invalid(FIELD, format!("{FIELD} must be an object")));
    };
    let kind = members.get("type").and_then(Value::as_str).unwrap_or_default();
    // A type, and the member that may stand beside it.
    let (constraint, own) = match kind {
        "text" => (None, ""),
        "json_object" => {
            let schema = given(members, "schema").map(|value| schema(value, "schema")).transpose()?;
            let constraint = schema.map_or_else(Constraint::json_object, Constraint::JsonSchema);
            (Some(constraint), "schema")
        }
        "json_schema" => match (given(members, "json_schema"), given(members, "schema")) {
            (Some(value), _) => (Some(Constraint::JsonSchema(json_schema(value)?)), "json_schema"),
            (None, Some(value)) => (Some(Constraint::JsonSchema(schema(value, "schema")?)), "schema"),
            (None, None) => return Err(required("json_schema")),
        },
        "grammar" => match given(members, "grammar") {
            Some(Value::String(text)) => (Some(Constraint::Grammar(text.clone())), "grammar"),
            Some(_) => return Err(wrong("grammar", "must be a string")),
            None => return Err(required("grammar")),
        },
        _ => {
            let words = "\"text\", \"json_object\", \"json_schema\" or \"grammar\"";
            return Err(wrong("type", &format!("must be {words}")));
        }
    };
    match members.iter().find(|(name, value)| *name != "type" && *name != own && !value.is_null()) {
        None => Ok(constraint),
        Some((name, _)) => Err(wrong(&shown(name), &format!("does not go with type {kind:?}"))),
    }
}

/// A member that is not null.
fn given<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn wrong(member: &str, message: &str) -> OpenAiError {
    let at = format!("{FIELD}.{member}");
    OpenAiError::invalid(&at, format!("{at} {message}"))
}

fn required(member: &str) -> OpenAiError {
    wrong(member, "is required")
}

/// `{"name", "schema", "strict", "description"}`, or the schema itself.
fn json_schema(value: &Value) -> Result<Value, OpenAiError> {
    let is_wrapped = |members: &Map<String, Value>| {
        members.keys().all(|name| ["name", "schema", "strict", "description"].contains(&name.as_str()))
            && (members.contains_key("schema") || members.contains_key("name"))
    };
    match value {
        Value::Object(members) if is_wrapped(members) => {
            let inner = given(members, "schema").ok_or_else(|| required("json_schema.schema"))?;
            for (name, is_right) in [
                ("name", Value::is_string as fn(&Value) -> bool),
                ("description", Value::is_string),
                ("strict", Value::is_boolean),
            ] {
                if given(members, name).is_some_and(|value| !is_right(value)) {
                    return Err(wrong(&format!("json_schema.{name}"), "has the wrong type"));
                }
            }
            schema(inner, "json_schema.schema")
        }
        value => schema(value, "json_schema"),
    }
}

/// A schema, or its JSON text.
fn schema(value: &Value, member: &str) -> Result<Value, OpenAiError> {
    match value {
        Value::String(text) => serde_json::from_str(text)
            .map_err(|error| wrong(member, &format!("is a string that is not valid JSON: {error}"))),
        Value::Object(_) | Value::Bool(_) => Ok(value.clone()),
        _ => Err(wrong(member, "must be a schema: an object or its JSON text")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_forms_are_read() {
        let check = |value: Value, expect: Option<Constraint>| {
            assert_eq!(response_format(Some(&value)).unwrap(), expect, "{value}");
        };
        let schema = json!({"type": "array"});
        let found = || Some(Constraint::JsonSchema(schema.clone()));
        assert_eq!(response_format(None).unwrap(), None);
        check(json!({"type": "text"}), None);
        check(json!({"type": "json_object"}), Some(Constraint::json_object()));
        check(json!({"type": "json_object", "schema": null}), Some(Constraint::json_object()));
        check(json!({"type": "json_object", "schema": schema}), found());
        check(json!({"type": "json_object", "schema": schema.to_string()}), found());
        let wrapped = json!({"name": "n", "strict": true, "description": "d", "schema": schema});
        check(json!({"type": "json_schema", "json_schema": wrapped}), found());
        check(json!({"type": "json_schema", "json_schema": schema}), found());
        check(json!({"type": "json_schema", "json_schema": schema.to_string()}), found());
        check(json!({"type": "json_schema", "schema": schema}), found());
        check(json!({"type": "grammar", "grammar": "g"}), Some(Constraint::Grammar("g".to_owned())));
        // A schema with a property of that name is a schema.
        let odd = json!({"type": "object", "schema": 1});
        check(json!({"type": "json_schema", "json_schema": odd}), Some(Constraint::JsonSchema(odd.clone())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |value: Value, expect: &str| {
            assert_eq!(response_format(Some(&value)).unwrap_err().message, expect, "{value}");
        };
        let types = "response_format.type must be \"text\", \"json_object\", \"json_schema\" or \"grammar\"";
        check(json!("json"), "response_format must be an object");
        check(json!({}), types);
        check(json!({"type": "xml"}), types);
        check(json!({"type": "json_schema"}), "response_format.json_schema is required");
        check(
            json!({"type": "json_schema", "json_schema": {"name": "n"}}),
            "response_format.json_schema.schema is required",
        );
        check(
            json!({"type": "json_schema", "json_schema": {"name": 1, "schema": {}}}),
            "response_format.json_schema.name has the wrong type",
        );
        check(
            json!({"type": "json_schema", "json_schema": []}),
            "response_format.json_schema must be a schema: an object or its JSON text",
        );
        check(
            json!({"type": "json_object", "schema": "{"}),
            "response_format.schema is a string that is not valid JSON: EOF while parsing an object at line 1 column 1",
        );
        check(json!({"type": "grammar"}), "response_format.grammar is required");
        check(json!({"type": "grammar", "grammar": 1}), "response_format.grammar must be a string");
        check(json!({"type": "text", "schema": {}}), "response_format.schema does not go with type \"text\"");
    }
}
