//! Tables of bodies and what becomes of them.

use hearth_data::{Message, Role, ToolCall};
use hearth_inference::{Constraint, DEFAULT_MAX_TOKENS, Overflow, SamplingParams};
use serde_json::json;

use super::super::options::LogprobsForm;
use super::*;

fn parse(body: &Value) -> Result<Request, OpenAiError> {
    Request::chat(&serde_json::to_vec(body).unwrap(), 99)
}

fn parse_completion(body: &Value) -> Result<Request, OpenAiError> {
    Request::completion(&serde_json::to_vec(body).unwrap(), 99)
}

/// A minimal request with more members.
fn with(more: Value) -> Value {
    let mut body = json!({"model": "accounts/a/models/m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn default_options() -> Options {
    Options {
        model: "accounts/a/models/m".to_owned(),
        sampling: SamplingParams { seed: 99, ..SamplingParams::default() },
        n: 1,
        constraint: None,
        max_tokens: DEFAULT_MAX_TOKENS,
        overflow: Overflow::Shorten,
        stop: vec![],
        ignore_eos: false,
        echo_tokens: 0,
        logprobs: None,
        return_token_ids: false,
        raw_output: false,
        perf_metrics: false,
        stream: false,
        include_usage: false,
    }
}

fn chat(messages: Vec<Message>) -> Vec<Input> {
    vec![Input::Chat(ChatInput { messages, ..ChatInput::default() })]
}

#[test]
fn defaults_are_filled_in() {
    let inputs = chat(vec![Message::new(Role::User, "hi")]);
    let expect = Request { options: default_options(), inputs, tools: None };
    assert_eq!(parse(&with(json!({}))).unwrap(), expect);
    let nulls = json!({"temperature": null, "stop": null, "stream": null, "seed": null, "max_tokens": null,
        "tools": null, "tool_choice": null, "parallel_tool_calls": null, "response_format": null, "stream_options": null, "n": null, "user": null, "logprobs": null, "top_logprobs": null,
        "logit_bias": null, "echo": null, "context_length_exceeded_behavior": null, "service_tier": null});
    assert_eq!(parse(&with(nulls)).unwrap(), expect);
}

#[test]
fn every_supported_field_arrives() {
    let options = json!({
        "response_format": {"type": "json_object"},
        "model": "m", "temperature": 0, "top_p": 0.5, "top_k": 40, "min_p": 0.25, "typical_p": 0.75,
        "repetition_penalty": 1.5, "presence_penalty": -1, "frequency_penalty": 2, "logit_bias": {"17": -100},
        "max_completion_tokens": 7, "stop": ["x", "y"], "seed": -1, "stream": true,
        "stream_options": {"include_usage": true, "include_obfuscation": false}, "n": 3, "user": "someone",
        "ignore_eos": true, "echo_last": 4, "logprobs": true, "top_logprobs": 2, "return_token_ids": true,
        "raw_output": true, "perf_metrics_in_response": true, "context_length_exceeded_behavior": "error",
        "service_tier": "flex", "prompt_cache_key": "k", "prompt_cache_isolation_key": "k", "prediction": "text",
        "speculation": [1, 2], "safety_identifier": "s", "prompt_cache_max_len": 5, "prompt_cache_retention": "24h",
    });
    let expect = Options {
        model: "m".to_owned(),
        sampling: SamplingParams {
            temperature: 0.0,
            top_p: 0.5,
            top_k: 40,
            min_p: 0.25,
            typical_p: 0.75,
            repetition_penalty: 1.5,
            presence_penalty: -1.0,
            frequency_penalty: 2.0,
            logit_bias: vec![(17, -100.0)],
            seed: u64::MAX,
        },
        constraint: Some(Constraint::json_object()),
        n: 3,
        max_tokens: 7,
        overflow: Overflow::Refuse,
        stop: vec!["x".to_owned(), "y".to_owned()],
        ignore_eos: true,
        echo_tokens: 4,
        logprobs: Some((LogprobsForm::Content, 2)),
        return_token_ids: true,
        raw_output: true,
        perf_metrics: true,
        stream: true,
        include_usage: true,
    };
    let mut body = options.clone();
    body["messages"] = json!([
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "", "tool_calls": null},
    ]);
    body["prompt_truncate_len"] = json!(9);
    let messages = vec![
        Message::new(Role::System, "s"),
        Message::new(Role::User, "ab"),
        Message::new(Role::Assistant, ""),
    ];
    let inputs = vec![Input::Chat(ChatInput { messages, tools: vec![], truncate_tokens: Some(9) })];
    assert_eq!(parse(&body).unwrap(), Request { options: expect.clone(), inputs, tools: None });
    let mut body = options;
    body["prompt"] = json!("p");
    let inputs = vec![Input::Text("p".to_owned())];
    assert_eq!(parse_completion(&body).unwrap(), Request { options: expect, inputs, tools: None });
    assert_eq!(parse(&with(json!({"stop": "end"}))).unwrap().options.stop, ["end"]);
    let both = json!({"max_tokens": 5, "max_completion_tokens": 5});
    assert_eq!(parse(&with(both)).unwrap().options.max_tokens, 5);
    let echo = json!({"echo": true, "echo_last": 3});
    assert_eq!(parse(&with(echo)).unwrap().options.echo_tokens, usize::MAX);
}

#[test]
fn log_probabilities_are_asked_for_in_two_ways() {
    use LogprobsForm::{Content, Legacy};
    let check = |more: Value, expect: Option<(LogprobsForm, usize)>| {
        assert_eq!(parse(&with(more.clone())).unwrap().options.logprobs, expect, "{more}");
    };
    check(json!({"logprobs": false, "top_logprobs": 0}), None);
    check(json!({"logprobs": true}), Some((Content, 0)));
    check(json!({"logprobs": true, "top_logprobs": 5}), Some((Content, 5)));
    check(json!({"logprobs": 0}), Some((Legacy, 0)));
    check(json!({"logprobs": 3}), Some((Legacy, 3)));
    check(json!({"logprobs": 3, "top_logprobs": 1}), Some((Legacy, 1)));
}

#[test]
fn prompts_have_four_forms() {
    let check = |prompt: Value, expect: Result<&[Input], &str>| {
        let body = json!({"model": "m", "prompt": prompt});
        let got = parse_completion(&body).map(|request| request.inputs).map_err(|error| error.message);
        assert_eq!(got, expect.map(<[Input]>::to_vec).map_err(str::to_owned), "{prompt}");
    };
    let form = "prompt must be a string, a list of strings, a list of token ids or a list of such lists";
    check(json!("a"), Ok(&[Input::Text("a".to_owned())]));
    check(json!(["a", "b"]), Ok(&[Input::Text("a".to_owned()), Input::Text("b".to_owned())]));
    check(json!([1, 2]), Ok(&[Input::Tokens(vec![1, 2])]));
    check(json!([[1], [2, 3]]), Ok(&[Input::Tokens(vec![1]), Input::Tokens(vec![2, 3])]));
    check(json!([]), Err("prompt must not be empty"));
    check(json!(null), Err("prompt is required"));
    check(json!(7), Err(form));
    check(json!([1, "a"]), Err(form));
    check(json!(["a", {}]), Err(form));
    check(json!([-1]), Err(form));
    check(json!([1.5]), Err(form));
    check(json!([[1], [4294967296u64]]), Err(form));
    check(json!(vec!["a"; 129]), Err("prompt may hold at most 128 prompts, not 129"));
}

#[test]
fn what_is_not_acted_on_is_refused_by_name() {
    let check = |more: Value, expect: &str| {
        let got = parse(&with(more.clone())).map_err(|e| (e.param.unwrap_or_default(), e.message));
        let got = got.err().map(|(param, message)| format!("{param}: {message}"));
        assert_eq!(got.unwrap_or_default(), expect, "{more}");
    };
    check(json!({"tools": []}), "");
    check(json!({"functions": [{}]}), "functions: functions is not supported yet");
    check(json!({"response_format": {"type": "text"}}), "");
    check(
        json!({"response_format": {"type": "xml"}}),
        "response_format.type: response_format.type must be \"text\", \"json_object\", \"json_schema\" or \"grammar\"",
    );
    check(json!({"service_tier": "priority"}), "service_tier: service_tier is not supported yet");
    check(json!({"reasoning_effort": null, "thinking": null}), "");
    check(json!({"reasoning_effort": "none"}), "reasoning_effort: reasoning_effort is not supported yet");
    check(json!({"mirostat_target": 1}), "mirostat_target: mirostat_target is not supported yet");
    check(json!({"prompt": "x"}), "prompt: unrecognized request argument: prompt");
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
    check(json!({"n": 1.5}), "n must be a 64-bit integer");
    check(json!({"max_completion_tokens": -4}), "max_completion_tokens must not be negative, not -4");
    check(json!({"n": -1}), "n must not be negative, not -1");
    check(json!({"logprobs": 6}), "logprobs must be true, false or an integer from 0 to 5");
    check(json!({"logprobs": "yes"}), "logprobs must be true, false or an integer from 0 to 5");
    check(json!({"top_logprobs": 2}), "top_logprobs needs logprobs to be true");
    check(
        json!({"context_length_exceeded_behavior": "explode"}),
        "context_length_exceeded_behavior must be \"truncate\" or \"error\"",
    );
    let bias = "logit_bias must be an object of numbers, each named by a token id";
    check(json!({"logit_bias": {"a": 1}}), bias);
    check(json!({"logit_bias": {"1": "x"}}), bias);
    check(json!({"logit_bias": [1]}), bias);
    check(json!({"prompt_cache_key": 1}), "prompt_cache_key must be a string");
    check(json!({"service_tier": 1}), "service_tier must be a string");
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
    let roles = "messages[1].role must be \"system\", \"user\", \"assistant\" or \"tool\"";
    check(json!({"content": "x"}), roles);
    check(json!({"role": "bot", "content": "x"}), roles);
    check(
        json!({"role": "developer", "content": "x"}),
        "messages[1].role \"developer\" is not supported yet",
    );
    check(
        json!({"role": "tool", "content": "x"}),
        "messages[1].tool_call_id is required: the id of the call that is answered",
    );
    check(
        json!({"role": "tool", "content": "x", "tool_call_id": 1}),
        "messages[1].tool_call_id must be a string",
    );
    check(
        json!({"role": "user", "content": "x", "tool_calls": [1]}),
        "messages[1].tool_calls is not supported yet",
    );
    let form = "messages[1].tool_calls[0] must be {\"id\": string, \"type\": \"function\", \"function\": \
                {\"name\": string, \"arguments\": JSON text of an object}}";
    for call in [
        json!(1),
        json!({"id": "1"}),
        json!({"id": "1", "function": {"name": "f", "arguments": "["}}),
        json!({"id": "1", "function": {"name": "f", "arguments": "[]"}}),
        json!({"id": "1", "function": {"arguments": "{}"}}),
        json!({"function": {"name": "f", "arguments": "{}"}}),
        json!({"id": "1", "type": "other", "function": {"name": "f", "arguments": "{}"}}),
    ] {
        check(json!({"role": "assistant", "tool_calls": [call]}), form);
    }
    check(json!({"role": "user"}), "messages[1].content must be a string or a list of text parts");
    check(
        json!({"role": "user", "content": null}),
        "messages[1].content must be a string or a list of text parts",
    );
    check(
        json!({"role": "user", "content": "x", "reasoning_content": "n"}),
        "messages[1].reasoning_content is not supported yet",
    );
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
        let message = Request::chat(body, 0).unwrap_err().message;
        assert!(message.starts_with(expect), "{message}");
    };
    check(b"", "the request body is not valid JSON");
    check(b"{\"model\": \"\xff\"}", "the request body is not valid JSON");
    check(b"[]", "the request body must be an object");
    check("[".repeat(100_000).as_bytes(), "the request body is not valid JSON");
}

#[test]
fn tools_and_their_messages_arrive() {
    let call = json!({"id": "c1", "type": "function", "index": 0,
        "function": {"name": "go", "arguments": "{\"b\": 1, \"a\": [2.0]}"}});
    let function = json!({"type": "function", "function": {"name": "go", "strict": true}});
    let request = parse(&with(json!({"tools": [function], "tool_choice": "any", "messages": [
        {"role": "user", "content": "q", "name": "n", "tool_calls": []},
        {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "name": "go", "content": "r"},
    ]})))
    .unwrap();
    let arguments = json!({"b": 1, "a": [2.0]}).as_object().unwrap().clone();
    let call = ToolCall { id: "c1".to_owned(), name: "go".to_owned(), arguments };
    let messages = vec![
        Message { name: Some("n".to_owned()), ..Message::new(Role::User, "q") },
        Message {
            reasoning_content: Some("hm".to_owned()),
            tool_calls: vec![call],
            ..Message::new(Role::Assistant, "")
        },
        Message {
            tool_call_id: Some("c1".to_owned()),
            name: Some("go".to_owned()),
            ..Message::new(Role::Tool, "r")
        },
    ];
    let chat = ChatInput { messages, tools: vec![function], truncate_tokens: None };
    assert_eq!(request.inputs, [Input::Chat(chat)]);
    assert!(matches!(request.options.constraint, Some(Constraint::ToolCalls { parallel: true, .. })));
    assert_eq!(request.tools.unwrap().functions[0].name, "go");

    let both = json!({"tools": [{"type": "function", "function": {"name": "f"}}], "response_format":
        {"type": "json_object"}});
    assert_eq!(parse(&with(both.clone())).unwrap_err().param.as_deref(), Some("response_format"));
    let mut off = both;
    off["tool_choice"] = json!("none");
    assert_eq!(parse(&with(off)).unwrap().options.constraint, Some(Constraint::json_object()));
}
