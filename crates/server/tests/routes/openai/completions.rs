//! Completions: prompts as they are, whole and streamed.

use serde_json::{Value, json};

use super::{BASE, complete, events, server};

fn texts(reply: &Value) -> Vec<&str> {
    reply["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap()).collect()
}

#[test]
fn a_whole_completion_has_openais_form() {
    let server = server();
    let reply = complete(&server, json!("once upon"), json!({})).ok();
    assert!(reply["id"].as_str().unwrap().starts_with("cmpl-"));
    let text = reply["choices"][0]["text"].as_str().unwrap();
    assert!(!text.is_empty() && !text.contains("once upon"));
    let prompt_tokens = reply["usage"]["prompt_tokens"].as_u64().unwrap();
    let expect = json!({
        "id": reply["id"], "object": "text_completion", "created": reply["created"], "model": BASE,
        "choices": [{"index": 0, "text": text, "finish_reason": "length"}],
        "usage": {
            "prompt_tokens": prompt_tokens, "completion_tokens": 12, "total_tokens": prompt_tokens + 12,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    });
    assert_eq!(reply, expect);
    let mut body = json!({"model": BASE, "prompt": "once upon", "temperature": 0, "max_tokens": 12});
    assert_eq!(texts(&server.post("/inference/v1/completions", &body).ok()), [text]);
    body["echo"] = json!(true);
    let echoed = server.post("/v1/completions", &body).ok();
    assert_eq!(texts(&echoed), [format!("once upon{text}")]);
    assert_eq!(echoed["usage"], reply["usage"]);
}

#[test]
fn prompts_may_be_texts_tokens_or_lists_of_them() {
    let server = server();
    let both = complete(&server, json!(["one", "two more"]), json!({"return_token_ids": true, "n": 2})).ok();
    let choices = both["choices"].as_array().unwrap();
    let indexes: Vec<u64> = choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
    let prompts: Vec<&Value> = choices.iter().map(|choice| &choice["prompt_token_ids"]).collect();
    assert!(prompts[0] == prompts[1] && prompts[2] == prompts[3] && prompts[0] != prompts[2]);
    let len = |ids: &Value| ids.as_array().unwrap().len();
    // Each prompt counts once, each answer for itself.
    assert_eq!(both["usage"]["prompt_tokens"], len(prompts[0]) + len(prompts[2]));
    assert_eq!(both["usage"]["completion_tokens"], 48);
    for (i, choice) in choices.iter().enumerate() {
        let tokens =
            complete(&server, choice["prompt_token_ids"].clone(), json!({"return_token_ids": true})).ok();
        assert_eq!(tokens["choices"][0]["text"], choice["text"], "{i}");
        assert_eq!(tokens["choices"][0]["token_ids"], choice["token_ids"], "{i}");
        assert_eq!(len(&choice["token_ids"]), 12);
    }
    let lists = complete(&server, json!([prompts[0], prompts[2]]), json!({})).ok();
    assert_eq!(texts(&lists), [choices[0]["text"].as_str().unwrap(), choices[2]["text"].as_str().unwrap()]);
}

#[test]
fn a_prompt_can_be_scored_without_an_answer() {
    let server = server();
    let more = json!({"max_tokens": 0, "echo": true, "logprobs": 1});
    let reply = complete(&server, json!("some words"), more).ok();
    let choice = &reply["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!("some words"), &json!("length")));
    let usage = &reply["usage"];
    assert_eq!((&usage["completion_tokens"], &usage["total_tokens"]), (&json!(0), &usage["prompt_tokens"]));
    let logprobs = &choice["logprobs"];
    let tokens: Vec<&str> =
        logprobs["tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    assert_eq!(tokens.concat(), "some words");
    let numbers: Vec<f64> =
        logprobs["token_logprobs"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert!(numbers[0] == 0.0 && numbers[1..].iter().all(|&x| x < 0.0), "{numbers:?}");
    let last =
        complete(&server, json!("some words"), json!({"max_tokens": 0, "echo_last": 2, "logprobs": 1})).ok();
    assert_eq!(last["choices"][0]["text"], tokens[tokens.len() - 2..].concat());
    assert_eq!(last["choices"][0]["logprobs"]["token_logprobs"], json!(numbers[numbers.len() - 2..]));
    assert_eq!(complete(&server, json!("some words"), json!({"max_tokens": 0})).status, 400);
}

#[test]
fn a_stream_brings_every_choice_with_its_index() {
    let server = server();
    let more = json!({
        "temperature": 1, "seed": 9, "n": 3, "echo": true, "return_token_ids": true, "logprobs": 2,
        "raw_output": true, "perf_metrics_in_response": true,
    });
    let whole = complete(&server, json!(["first", "second one"]), more.clone()).ok();
    let mut streamed = more;
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    let mut events = events(&complete(&server, json!(["first", "second one"]), streamed));
    let usage = events.pop().unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole["usage"]));
    let count = whole["choices"].as_array().unwrap().len();
    assert_eq!(count, 6);
    // Put together, the pieces of each choice are the choice of the whole answer.
    let mut joined: Vec<Value> = (0..count)
        .map(|i| json!({"index": i, "text": "", "token_ids": [], "logprobs": {}, "finish_reason": null}))
        .collect();
    for event in &events {
        assert_eq!(event["object"], "text_completion");
        let [choice] = event["choices"].as_array().unwrap().as_slice() else { panic!("one choice an event") };
        let to = &mut joined[choice["index"].as_u64().unwrap() as usize];
        assert!(to["finish_reason"].is_null(), "nothing follows the end");
        to["text"] = json!(to["text"].as_str().unwrap().to_owned() + choice["text"].as_str().unwrap());
        for name in ["finish_reason", "raw_output", "prompt_token_ids"] {
            if choice.get(name).is_some_and(|value| !value.is_null()) {
                to[name] = choice[name].clone();
            }
        }
        if let Some(ids) = choice.get("token_ids") {
            to["token_ids"].as_array_mut().unwrap().extend(ids.as_array().unwrap().clone());
        }
        for (name, list) in choice.get("logprobs").and_then(Value::as_object).into_iter().flatten() {
            let all = to["logprobs"].as_object_mut().unwrap().entry(name).or_insert(json!([]));
            all.as_array_mut().unwrap().extend(list.as_array().unwrap().clone());
        }
    }
    assert_eq!(json!(joined), whole["choices"]);
    let metrics: Vec<&Value> = events.iter().filter_map(|event| event.get("perf_metrics")).collect();
    assert_eq!(metrics.len(), 1);
    assert_eq!(events.last().unwrap()["perf_metrics"]["prompt-tokens"], whole["usage"]["prompt_tokens"]);
}

#[test]
fn completions_are_refused_by_name() {
    let server = server();
    let check = |prompt: Value, more: Value, param: &str, expect: &str| {
        let reply = complete(&server, prompt, more);
        let error = &reply.json()["error"];
        assert_eq!((reply.status, error["param"].as_str().unwrap()), (400, param), "{error}");
        assert_eq!(error["message"].as_str().unwrap(), expect);
    };
    check(json!("x"), json!({"suffix": "y"}), "suffix", "suffix is not supported yet");
    check(json!("x"), json!({"best_of": 2}), "best_of", "best_of is not supported yet");
    check(json!("x"), json!({"messages": []}), "messages", "unrecognized request argument: messages");
    check(json!(""), json!({}), "prompt", "prompt must have at least one token");
    check(
        json!([1, 5000]),
        json!({}),
        "prompt",
        "prompt holds token 5000, but the model's vocabulary has 427",
    );
    check(
        json!(["a", "b"]),
        json!({"n": 128}),
        "prompt",
        "prompt and n ask for 256 choices, the limit is 128",
    );
    check(
        json!("7".repeat(600)),
        json!({}),
        "prompt",
        "the prompt has 600 tokens but the model's context holds 512, and at least one must remain for the answer",
    );
    check(
        json!("7".repeat(500)),
        json!({"max_tokens": 13, "context_length_exceeded_behavior": "error"}),
        "prompt",
        "the prompt has 500 tokens and max_tokens is 13, but the model's context holds 512 together",
    );
    let shortened = complete(&server, json!("7".repeat(500)), json!({"max_tokens": 13})).ok();
    assert_eq!(shortened["usage"]["completion_tokens"], 12);
}
