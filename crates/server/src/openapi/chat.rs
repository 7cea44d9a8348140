//! Schemas of chats and completions, written by hand; a test compares the requests with what the server reads.

use hearth_inference::{
    DEFAULT_MAX_TOKENS, MAX_CHOICES, MAX_LOGIT_BIAS, MAX_PENALTY, MAX_REPETITION_PENALTY, MAX_STOP_STRINGS,
    MAX_TEMPERATURE, MAX_TOP_K, MAX_TOP_LOGPROBS,
};
use serde_json::{Map, Value, json};

use super::schema::{Schemas, reference};
use super::tools::{response_format, tool_calls, tools};

/// Adds all of them.
pub(super) fn add_schemas(schemas: &mut Schemas) {
    schemas.add("openaiChatCompletionRequest", chat_request());
    schemas.add("openaiCompletionRequest", completion_request());
    schemas.add("openaiChatMessage", message());
    schemas.add("openaiUsage", usage());
    schemas.add("openaiLogprobs", logprobs());
    schemas.add("openaiRawOutput", raw_output());
    schemas.add("openaiChatCompletion", chat_completion());
    schemas.add("openaiChatCompletionChunk", chat_chunk());
    schemas.add("openaiCompletion", completion("A whole answer.", &reference("openaiUsage")));
    let usage = json!({ "anyOf": [reference("openaiUsage"), { "type": "null" }] });
    schemas
        .add("openaiCompletionChunk", completion("A part of an answer, as the data of one event.", &usage));
    schemas.add("openaiModel", model());
    schemas.add("openaiModelList", model_list());
}

fn number(from: f32, to: f32, default: f32, description: &str) -> Value {
    json!({
        "type": ["number", "null"], "minimum": from, "maximum": to, "default": default, "description": description,
    })
}

fn count(most: Option<usize>, description: &str) -> Value {
    let mut schema = json!({ "type": ["integer", "null"], "minimum": 0, "description": description });
    if let Some(most) = most {
        schema["maximum"] = most.into();
    }
    schema
}

fn flag(description: &str) -> Value {
    json!({ "type": ["boolean", "null"], "default": false, "description": description })
}

fn hint(types: Value, description: &str) -> Value {
    json!({ "type": types, "description": format!("{description} It never changes an answer.") })
}

/// Properties of both requests.
fn options() -> Map<String, Value> {
    let tokens = format!(
        "Most tokens of an answer; {DEFAULT_MAX_TOKENS} if not given. 0 together with `echo` gives the prompt alone."
    );
    let text = || json!(["string", "null"]);
    let all = json!({
        "model": {
            "type": "string",
            "description": "Full name of a model, of a deployed model or of a deployment, or MODEL#DEPLOYMENT.",
            "examples": ["accounts/fireworks/models/smollm2-135m-instruct"],
        },
        "temperature": number(0.0, MAX_TEMPERATURE, 1.0, "0 takes the likeliest token."),
        "top_p": number(0.0, 1.0, 1.0, "Draws among the likeliest tokens that hold this probability together."),
        "top_k": count(Some(MAX_TOP_K), "Draws among this many of the likeliest tokens; 0 is all."),
        "min_p": number(0.0, 1.0, 0.0, "Draws among tokens that are at least this times as likely as the likeliest."),
        "typical_p": number(0.0, 1.0, 1.0, "Draws among the tokens of the most usual surprise, up to this probability."),
        "repetition_penalty": {
            "type": ["number", "null"], "exclusiveMinimum": 0, "maximum": MAX_REPETITION_PENALTY, "default": 1.0,
            "description": "Above 1, tokens that the prompt or the answer has become less likely.",
        },
        "presence_penalty":
            number(-MAX_PENALTY, MAX_PENALTY, 0.0, "Subtracted from the logits of tokens that the answer has."),
        "frequency_penalty":
            number(-MAX_PENALTY, MAX_PENALTY, 0.0, "Subtracted from the logits of tokens, each time the answer has them."),
        "logit_bias": {
            "type": ["object", "null"],
            "description": "Added to the logits of tokens, by id.",
            "additionalProperties": { "type": "number", "minimum": -MAX_LOGIT_BIAS, "maximum": MAX_LOGIT_BIAS },
        },
        "max_tokens": count(None, &tokens),
        "max_completion_tokens": count(None, "Another name of `max_tokens`."),
        "context_length_exceeded_behavior": {
            "enum": ["truncate", "error", null], "default": "truncate",
            "description": "Whether `max_tokens` is lowered to what the context leaves, or the request is refused.",
        },
        "stop": {
            "description": "Texts that end an answer; they do not stand in it.",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "maxItems": MAX_STOP_STRINGS, "items": { "type": "string" } },
                { "type": "null" },
            ],
        },
        "ignore_eos": flag("Goes on after tokens that end an answer."),
        "response_format": response_format(),
        "seed": {
            "type": ["integer", "null"], "format": "int64",
            "description": "The same seed gives the same answers. Each choice has draws of its own.",
        },
        "n": {
            "type": ["integer", "null"], "minimum": 1, "maximum": MAX_CHOICES, "default": 1,
            "description": "Answers to each prompt.",
        },
        "logprobs": {
            "description": "`true` gives log probabilities as a list of tokens, a number as lists beside each other with \
                so many alternatives. They are of the model's distribution, before everything that sampling changes.",
            "anyOf": [
                { "type": "boolean" },
                { "type": "integer", "minimum": 0, "maximum": MAX_TOP_LOGPROBS },
                { "type": "null" },
            ],
        },
        "top_logprobs": count(Some(MAX_TOP_LOGPROBS), "Alternatives of each token. Needs `logprobs`."),
        "echo": flag("The prompt stands before each answer."),
        "echo_last": count(None, "As many tokens of the end of the prompt stand before each answer."),
        "return_token_ids": flag("The reply has the ids of all tokens."),
        "raw_output": flag("The reply has what the model saw and wrote."),
        "perf_metrics_in_response": flag("The reply has `perf_metrics`."),
        "stream": flag("The answers are sent as they come."),
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
        "user": hint(text(), "A name for the operator's records."),
        "safety_identifier": hint(text(), "A name for the operator's records."),
        "service_tier": {
            "enum": ["auto", "default", "flex", null],
            "description": "There is one tier. It never changes an answer.",
        },
        "prompt_cache_key": hint(text(), "Nothing is cached between requests."),
        "prompt_cache_isolation_key": hint(text(), "Nothing is cached between requests."),
        "prompt_cache_max_len": hint(json!(["integer", "null"]), "Nothing is cached between requests."),
        "prompt_cache_retention": hint(text(), "Nothing is cached between requests."),
        "prediction": hint(json!(["string", "object", "null"]), "Nothing is predicted."),
        "speculation": hint(json!(["string", "array", "null"]), "Nothing is predicted."),
    });
    let Value::Object(all) = all else { unreachable!("it is written as an object") };
    all
}

fn chat_request() -> Value {
    let mut properties = options();
    let messages = json!({ "type": "array", "minItems": 1, "items": reference("openaiChatMessage") });
    properties.insert("messages".to_owned(), messages);
    properties.extend(tools());
    properties.insert(
        "prompt_truncate_len".to_owned(),
        count(None, "Leaves out the oldest messages until the prompt has at most this many tokens."),
    );
    json!({
        "type": "object",
        "description": "A conversation and how to go on with it.",
        "properties": properties,
        "required": ["model", "messages"],
    })
}

fn completion_request() -> Value {
    let mut properties = options();
    let tokens = json!({ "type": "array", "minItems": 1, "items": { "type": "integer", "minimum": 0 } });
    let list =
        |items: Value| json!({ "type": "array", "minItems": 1, "maxItems": MAX_CHOICES, "items": items });
    let prompt = json!({
        "description": "A text, texts, tokens, or lists of tokens. No chat template is applied.",
        "anyOf": [{ "type": "string" }, list(json!({ "type": "string" })), tokens, list(tokens.clone())],
    });
    properties.insert("prompt".to_owned(), prompt);
    json!({
        "type": "object",
        "description": "Prompts and how to go on with them.",
        "properties": properties,
        "required": ["model", "prompt"],
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
            "role": { "enum": ["system", "user", "assistant", "tool"] },
            "content": {
                "description": "May be missing where `tool_calls` are.",
                "anyOf": [{ "type": "string" }, { "type": "array", "items": part }, { "type": "null" }],
            },
            "tool_calls": tool_calls(false),
            "tool_call_id": { "type": ["string", "null"], "description": "The call that a tool answers." },
            "name": { "type": ["string", "null"], "description": "Of a tool that answers." },
        },
        "required": ["role"],
    })
}

fn usage() -> Value {
    let count = json!({ "type": "integer", "minimum": 0 });
    json!({
        "type": "object",
        "properties": {
            "prompt_tokens": count,
            "completion_tokens": count,
            "total_tokens": count,
            "prompt_tokens_details": { "type": "object", "properties": { "cached_tokens": count } },
        },
        "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
    })
}

fn ids() -> Value {
    json!({ "type": "array", "items": { "type": "integer" } })
}

fn logprobs() -> Value {
    let bytes = || json!({ "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 255 } });
    let alternative = json!({
        "type": "object",
        "properties": {
            "token": { "type": "string" },
            "bytes": bytes(),
            "logprob": { "type": "number" },
            "token_id": { "type": "integer" },
        },
        "required": ["token", "bytes", "logprob", "token_id"],
    });
    let content = json!({
        "type": "object",
        "properties": {
            "token": { "type": "string" },
            "bytes": bytes(),
            "logprob": {
                "type": "number",
                "description": "By the model's distribution; 0 for the first token of a prompt.",
            },
            "sampling_logprob": {
                "type": "number",
                "description": "By the distribution that it was drawn from; not of tokens of the prompt.",
            },
            "text_offset": { "type": "integer", "description": "Characters of the choice's text before it." },
            "token_id": { "type": "integer" },
            "top_logprobs": { "type": "array", "items": alternative },
        },
        "required": ["token", "bytes", "logprob", "text_offset", "token_id", "top_logprobs"],
    });
    let list = |items: Value| json!({ "type": "array", "items": items });
    json!({
        "description": "Log probabilities of the tokens whose text is shown, in one of two forms.",
        "anyOf": [
            {
                "type": "object",
                "properties": { "content": list(content) },
                "required": ["content"],
            },
            {
                "type": "object",
                "properties": {
                    "tokens": list(json!({ "type": "string" })),
                    "token_logprobs": list(json!({ "type": "number" })),
                    "top_logprobs":
                        list(json!({ "type": "object", "additionalProperties": { "type": "number" } })),
                    "text_offset": list(json!({ "type": "integer" })),
                    "token_ids": ids(),
                },
                "required": ["tokens", "token_logprobs", "top_logprobs", "text_offset", "token_ids"],
            },
        ],
    })
}

fn raw_output() -> Value {
    json!({
        "type": "object",
        "description": "What the model saw and wrote.",
        "properties": {
            "prompt_fragments": { "type": "array", "items": { "type": "string" } },
            "prompt_token_ids": ids(),
            "completion": { "type": "string" },
            "completion_token_ids": ids(),
            "completion_logprobs": reference("openaiLogprobs"),
        },
        "required": ["prompt_fragments", "prompt_token_ids", "completion", "completion_token_ids"],
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
            "perf_metrics": {
                "type": "object",
                "description": "Counts of tokens, and times in seconds from the arrival of the request.",
                "additionalProperties": { "type": "number" },
            },
        },
        "required": ["id", "object", "created", "model", "choices"],
    })
}

/// A choice, or a part of one, whose text is in the property `name`.
fn choice(name: &str, text: Value, finish_reason: Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "index": { "type": "integer" },
            name: text,
            "finish_reason": { "enum": finish_reason },
            "logprobs": reference("openaiLogprobs"),
            "token_ids": ids(),
            "raw_output": reference("openaiRawOutput"),
        },
        "required": ["index", name, "finish_reason"],
    })
}

fn chat_completion() -> Value {
    let message = json!({
        "type": "object",
        "properties": {
            "role": { "const": "assistant" },
            "content": { "type": ["string", "null"], "description": "Null where there are only calls." },
            "tool_calls": tool_calls(false),
        },
        "required": ["role", "content"],
    });
    let choice = choice("message", message, json!(["stop", "length", "tool_calls"]));
    let mut frame = frame("A whole answer.", "chat.completion", &choice, &reference("openaiUsage"));
    frame["properties"]["prompt_token_ids"] = ids();
    frame
}

fn chat_chunk() -> Value {
    let delta = json!({
        "type": "object",
        "properties": {
            "role": { "const": "assistant" },
            "content": { "type": "string" },
            "tool_calls": tool_calls(true),
        },
    });
    let choice = choice("delta", delta, json!(["stop", "length", "tool_calls", null]));
    let usage = json!({ "anyOf": [reference("openaiUsage"), { "type": "null" }] });
    let description = "A part of an answer, as the data of one event.";
    let mut frame = frame(description, "chat.completion.chunk", &choice, &usage);
    frame["properties"]["prompt_token_ids"] = ids();
    frame
}

fn completion(description: &str, usage: &Value) -> Value {
    let mut choice = choice("text", json!({ "type": "string" }), json!(["stop", "length", null]));
    choice["properties"]["prompt_token_ids"] = ids();
    frame(description, "text_completion", &choice, usage)
}

fn model() -> Value {
    json!({
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
    })
}

fn model_list() -> Value {
    json!({
        "type": "object",
        "properties": { "object": { "const": "list" }, "data": { "type": "array", "items": reference("openaiModel") } },
        "required": ["object", "data"],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::openai::{Endpoint, accepted_fields};

    #[test]
    fn the_requests_have_the_fields_that_are_read() {
        for (endpoint, request) in
            [(Endpoint::Chat, chat_request()), (Endpoint::Completions, completion_request())]
        {
            let described: BTreeSet<&str> =
                request["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(described, accepted_fields(endpoint).collect());
        }
    }
}
