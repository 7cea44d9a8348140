//! Schemas of chat requests and answers, written by hand; a test compares the request with what the server reads.

use serde_json::{Value, json};

use super::schema::{Schemas, reference};

/// Adds all of them.
pub(super) fn add_schemas(schemas: &mut Schemas) {
    schemas.add("openaiChatCompletionRequest", request());
    schemas.add("openaiChatMessage", message());
    schemas.add("openaiUsage", usage());
    schemas.add("openaiChatCompletion", completion());
    schemas.add("openaiChatCompletionChunk", chunk());
    schemas.add("openaiModelList", model_list());
}

fn request() -> Value {
    let tokens = "Most tokens of the answer; 2048 if not given, and never more than the context leaves.";
    json!({
        "type": "object",
        "description": "A conversation and how to go on with it.",
        "properties": {
            "model": {
                "type": "string",
                "description": "Full name of a model or of a deployed model.",
                "examples": ["accounts/fireworks/models/smollm2-135m-instruct"],
            },
            "messages": { "type": "array", "minItems": 1, "items": reference("openaiChatMessage") },
            "temperature": { "type": ["number", "null"], "default": 1.0, "description": "0 takes the likeliest token." },
            "top_p": { "type": ["number", "null"], "default": 1.0 },
            "max_tokens": { "type": ["integer", "null"], "minimum": 1, "description": tokens },
            "max_completion_tokens": {
                "type": ["integer", "null"],
                "minimum": 1,
                "description": "Another name of `max_tokens`.",
            },
            "stop": {
                "description": "Texts that end the answer; they do not stand in it.",
                "anyOf": [
                    { "type": "string" },
                    { "type": "array", "items": { "type": "string" } },
                    { "type": "null" },
                ],
            },
            "seed": {
                "type": ["integer", "null"],
                "format": "int64",
                "description": "The same seed gives the same answer.",
            },
            "stream": { "type": ["boolean", "null"], "default": false },
            "stream_options": {
                "type": ["object", "null"],
                "description": "Needs `stream`.",
                "properties": {
                    "include_usage": {
                        "type": "boolean",
                        "description": "A last chunk, without choices, tells the usage.",
                    },
                },
            },
            "n": { "type": ["integer", "null"], "enum": [1, null], "description": "Number of answers." },
            "user": { "type": ["string", "null"], "description": "A name for the operator's records." },
        },
        "required": ["model", "messages"],
    })
}

fn message() -> Value {
    let part = json!({
        "type": "object",
        "properties": { "type": { "const": "text" }, "text": { "type": "string" } },
        "required": ["type", "text"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {
            "role": { "enum": ["system", "user", "assistant"] },
            "content": { "anyOf": [{ "type": "string" }, { "type": "array", "items": part }] },
        },
        "required": ["role", "content"],
    })
}

fn usage() -> Value {
    let count = json!({ "type": "integer", "minimum": 0 });
    json!({
        "type": "object",
        "properties": { "prompt_tokens": count, "completion_tokens": count, "total_tokens": count },
        "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
    })
}

/// An object with the fields that whole answers and chunks share.
fn frame(description: &str, object: &str, choice: &Value, usage: &Value) -> Value {
    json!({
        "type": "object",
        "description": description,
        "properties": {
            "id": { "type": "string" },
            "object": { "const": object },
            "created": { "type": "integer", "format": "int64", "description": "Seconds since 1970." },
            "model": { "type": "string", "description": "As the request named it." },
            "choices": { "type": "array", "items": choice },
            "usage": usage,
        },
        "required": ["id", "object", "created", "model", "choices"],
    })
}

fn completion() -> Value {
    let choice = json!({
        "type": "object",
        "properties": {
            "index": { "type": "integer" },
            "message": {
                "type": "object",
                "properties": { "role": { "const": "assistant" }, "content": { "type": "string" } },
                "required": ["role", "content"],
            },
            "finish_reason": { "enum": ["stop", "length"] },
        },
        "required": ["index", "message", "finish_reason"],
    });
    frame("A whole answer.", "chat.completion", &choice, &reference("openaiUsage"))
}

fn chunk() -> Value {
    let choice = json!({
        "type": "object",
        "properties": {
            "index": { "type": "integer" },
            "delta": {
                "type": "object",
                "properties": { "role": { "const": "assistant" }, "content": { "type": "string" } },
            },
            "finish_reason": { "enum": ["stop", "length", null] },
        },
        "required": ["index", "delta", "finish_reason"],
    });
    let usage = json!({ "anyOf": [reference("openaiUsage"), { "type": "null" }] });
    frame("A part of an answer, as the data of one event.", "chat.completion.chunk", &choice, &usage)
}

fn model_list() -> Value {
    let model = json!({
        "type": "object",
        "properties": {
            "id": { "type": "string", "description": "Full name of the model." },
            "object": { "const": "model" },
            "created": { "type": "integer", "format": "int64", "description": "Seconds since 1970." },
            "owned_by": { "type": "string", "description": "Id of its account." },
            "kind": { "enum": ["HF_BASE_MODEL", "HF_PEFT_ADDON"] },
            "supports_chat": { "type": "boolean" },
            "supports_image_input": { "type": "boolean" },
            "supports_tools": { "type": "boolean" },
            "context_length": { "type": "integer" },
        },
        "required": ["id", "object", "created", "owned_by"],
    });
    json!({
        "type": "object",
        "properties": { "object": { "const": "list" }, "data": { "type": "array", "items": model } },
        "required": ["object", "data"],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::openai::CHAT_REQUEST_FIELDS;

    #[test]
    fn the_request_has_the_fields_that_are_read() {
        let request = request();
        let described: BTreeSet<&str> =
            request["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(described, CHAT_REQUEST_FIELDS.iter().copied().collect());
    }
}
