//! Tables of bodies and what becomes of them.

use serde_json::json;

use super::*;

fn parse(body: &Value) -> Result<ChatRequest, OpenAiError> {
    ChatRequest::parse(&serde_json::to_vec(body).unwrap(), 99)
}

/// A minimal request with more members.
fn with(more: Value) -> Value {
    let mut body = json!({"model": "accounts/a/models/m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn defaults_are_filled_in() {
    let expect = ChatRequest {
        model: "accounts/a/models/m".to_owned(),
        messages: vec![Message::new(Role::User, "hi")],
        sampling: SamplingParams { temperature: 1.0, top_p: 1.0, seed: 99 },
        max_tokens: 2048,
        stop: vec![],
        stream: false,
        include_usage: false,
    };
    assert_eq!(parse(&with(json!({}))).unwrap(), expect);
    let nulls = json!({"temperature": null, "stop": null, "stream": null, "seed": null, "max_tokens": null,
        "tools": null, "stream_options": null, "n": null, "user": null});
    assert_eq!(parse(&with(nulls)).unwrap(), expect);
}

#[test]
fn every_supported_field_arrives() {
    let body = json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "", "tool_calls": null},
        ],
        "temperature": 0, "top_p": 0.5, "max_completion_tokens": 7, "stop": ["x", "y"], "seed": -1,
        "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
        "n": 1, "user": "someone",
    });
    let expect = ChatRequest {
        model: "m".to_owned(),
        messages: vec![
            Message::new(Role::System, "s"),
            Message::new(Role::User, "ab"),
            Message::new(Role::Assistant, ""),
        ],
        sampling: SamplingParams { temperature: 0.0, top_p: 0.5, seed: u64::MAX },
        max_tokens: 7,
        stop: vec!["x".to_owned(), "y".to_owned()],
        stream: true,
        include_usage: true,
    };
    assert_eq!(parse(&body).unwrap(), expect);
    assert_eq!(parse(&with(json!({"stop": "end"}))).unwrap().stop, ["end"]);
    assert_eq!(parse(&with(json!({"max_tokens": 5, "max_completion_tokens": 5}))).unwrap().max_tokens, 5);
}

#[test]
fn what_is_not_acted_on_is_refused_by_name() {
    let check = |more: Value, expect: &str| {
        let got = parse(&with(more.clone())).map_err(|e| (e.param.unwrap_or_default(), e.message));
        let got = got.err().map(|(param, message)| format!("{param}: {message}"));
        assert_eq!(got.unwrap_or_default(), expect, "{more}");
    };
    check(json!({"tools": []}), "");
    check(json!({"tools": [{}]}), "tools: tools is not supported yet");
    check(json!({"logprobs": false, "top_logprobs": 0}), "");
    check(json!({"logprobs": true}), "logprobs: logprobs is not supported yet");
    check(json!({"logprobs": 0}), "logprobs: logprobs is not supported yet");
    check(json!({"response_format": {"type": "text"}}), "");
    check(
        json!({"response_format": {"type": "json_object"}}),
        "response_format: response_format is not supported yet",
    );
    check(json!({"top_k": 0}), "");
    check(json!({"top_k": 40}), "top_k: top_k is not supported yet");
    check(json!({"presence_penalty": 0.0, "repetition_penalty": 1.0}), "");
    check(json!({"presence_penalty": 0.1}), "presence_penalty: presence_penalty is not supported yet");
    check(json!({"n": 2}), "n: n is not supported yet");
    check(json!({"context_length_exceeded_behavior": "truncate"}), "");
    check(
        json!({"context_length_exceeded_behavior": "error"}),
        "context_length_exceeded_behavior: context_length_exceeded_behavior is not supported yet",
    );
    check(json!({"temprature": 1}), "temprature: unrecognized request argument: temprature");
    check(
        json!({"stream": true, "stream_options": {"x": 1}}),
        "stream_options.x: stream_options.x is not supported yet",
    );
}

#[test]
fn wrong_types_and_values_are_named() {
    let check = |more: Value, expect: &str| {
        assert_eq!(parse(&with(more.clone())).unwrap_err().message, expect, "{more}");
    };
    check(json!({"model": null}), "model is required");
    check(json!({"model": 3}), "model must be a string");
    check(json!({"temperature": "hot"}), "temperature must be a number");
    check(json!({"seed": 1.5}), "seed must be a 64-bit integer");
    check(json!({"seed": u64::MAX}), "seed must be a 64-bit integer");
    check(json!({"stream": 1}), "stream must be true or false");
    check(json!({"user": {}}), "user must be a string");
    check(json!({"max_tokens": 0}), "max_tokens must be at least 1, not 0");
    check(json!({"max_completion_tokens": -4}), "max_completion_tokens must be at least 1, not -4");
    check(
        json!({"max_tokens": 1, "max_completion_tokens": 2}),
        "max_tokens and max_completion_tokens differ; give one of them",
    );
    check(json!({"stop": [1]}), "stop must be a string or a list of strings");
    check(json!({"stream_options": {}}), "stream_options needs stream to be true");
    check(json!({"stream": true, "stream_options": 1}), "stream_options must be an object");
    check(json!({"messages": []}), "messages must not be empty");
    check(json!({"messages": "hi"}), "messages must be a list");
    check(json!({"messages": null}), "messages is required");
}

#[test]
fn a_wrong_message_is_named_by_its_place() {
    let check = |message: Value, expect: &str| {
        let ok = json!({"role": "user", "content": "hi"});
        let error = parse(&with(json!({"messages": [ok, message]}))).unwrap_err();
        assert_eq!(error.message, expect, "{message}");
    };
    check(json!("hi"), "messages[1] must be an object");
    check(json!({"content": "x"}), "messages[1].role must be \"system\", \"user\" or \"assistant\"");
    check(
        json!({"role": "bot", "content": "x"}),
        "messages[1].role must be \"system\", \"user\" or \"assistant\"",
    );
    check(json!({"role": "tool", "content": "x"}), "messages[1].role \"tool\" is not supported yet");
    check(json!({"role": "user"}), "messages[1].content must be a string or a list of text parts");
    check(
        json!({"role": "user", "content": null}),
        "messages[1].content must be a string or a list of text parts",
    );
    check(json!({"role": "user", "content": "x", "name": "n"}), "messages[1].name is not supported yet");
    check(
        json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
        "messages[1].content[0].type is not supported yet",
    );
    check(
        json!({"role": "user", "content": ["x"]}),
        "messages[1].content[0] must be {\"type\": \"text\", \"text\": string}",
    );
}

#[test]
fn bodies_that_are_not_objects_are_refused() {
    let check = |body: &[u8], expect: &str| {
        let message = ChatRequest::parse(body, 0).unwrap_err().message;
        assert!(message.starts_with(expect), "{message}");
    };
    check(b"", "the request body is not valid JSON");
    check(b"{\"model\": \"\xff\"}", "the request body is not valid JSON");
    check(b"[]", "the request body must be an object");
    check("[".repeat(100_000).as_bytes(), "the request body is not valid JSON");
}
