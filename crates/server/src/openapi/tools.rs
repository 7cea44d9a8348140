//! Schemas of tools and of the form of answers.

use serde_json::{Map, Value, json};

use crate::openai::MAX_TOOLS;

/// Properties of chat requests that are about tools.
pub(super) fn tools() -> Map<String, Value> {
    let all = json!({
        "tools": {
            "type": ["array", "null"], "maxItems": MAX_TOOLS, "items": tool(),
            "description": "Functions that the model may call. Its chat template must show tools.",
        },
        "tool_choice": {
            "description": "`required`, `any` and a function make the answer calls; with `none` the model is shown no \
                tools. With `auto`, the default, the model decides.",
            "anyOf": [
                { "enum": ["none", "auto", "required", "any", null] },
                {
                    "type": "object",
                    "properties": {
                        "type": { "const": "function" },
                        "function": {
                            "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"],
                        },
                    },
                    "required": ["type", "function"],
                },
            ],
        },
        "parallel_tool_calls": {
            "type": ["boolean", "null"], "default": true,
            "description": "Whether an answer may hold more than one call.",
        },
    });
    let Value::Object(all) = all else { unreachable!("it is written as an object") };
    all
}

/// The form of answers.
pub(super) fn response_format() -> Value {
    let schema = json!({ "type": ["object", "boolean", "string", "null"] });
    json!({
        "description": "The form of the answers. One that is not cut off keeps to it; one that is has the \
            `finish_reason` `length`.",
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "type": { "enum": ["text", "json_object", "json_schema", "grammar"] },
                    "json_schema": {
                        "type": ["object", "string", "boolean", "null"],
                        "description": "With type `json_schema`: an object with `name` and `schema`, or the schema itself.",
                    },
                    "schema": schema,
                    "grammar": { "type": ["string", "null"], "description": "With type `grammar`: GBNF." },
                },
                "required": ["type"],
                "additionalProperties": false,
            },
            { "type": "null" },
        ],
    })
}

fn tool() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": { "const": "function" },
            "function": {
                "type": "object",
                "properties": {
                    "name": { "type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$" },
                    "description": { "type": ["string", "null"] },
                    "parameters": { "type": ["object", "null"], "description": "A JSON schema of an object." },
                    "strict": { "type": ["boolean", "null"] },
                },
                "required": ["name"],
                "additionalProperties": false,
            },
        },
        "required": ["type", "function"],
        "additionalProperties": false,
    })
}

/// Calls in messages. A streamed one has an `index`, and may have parts only.
pub(super) fn tool_calls(is_delta: bool) -> Value {
    let mut call = json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "type": { "const": "function" },
            "function": {
                "type": "object",
                "properties": {
                    "name": { "type": "string" },
                    "arguments": { "type": "string", "description": "JSON text of an object." },
                },
                "required": if is_delta { vec!["arguments"] } else { vec!["name", "arguments"] },
            },
        },
        "required": if is_delta { vec!["index", "function"] } else { vec!["id", "type", "function"] },
    });
    if is_delta {
        call["properties"]["index"] = json!({ "type": "integer" });
    }
    json!({ "type": "array", "items": call })
}
