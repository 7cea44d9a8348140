//! Answers, whole and streamed.

use serde_json::{Value, json};

use super::{BASE, TUNED, answer, body, chat, events, server};

#[test]
fn a_whole_answer_has_openais_form() {
    let server = server();
    let mut reply = chat(&server, BASE, json!({})).ok();
    assert!(reply["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(reply["created"].as_u64().unwrap() > 1_700_000_000);
    let content = reply["choices"][0]["message"]["content"].take();
    assert!(!content.as_str().unwrap().is_empty());
    let prompt_tokens = reply["usage"]["prompt_tokens"].as_u64().unwrap();
    let expect = json!({
        "id": reply["id"], "object": "chat.completion", "created": reply["created"], "model": BASE,
        "choices": [{
            "index": 0, "message": {"role": "assistant", "content": null}, "finish_reason": "length",
        }],
        "usage": {
            "prompt_tokens": prompt_tokens, "completion_tokens": 12, "total_tokens": prompt_tokens + 12,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    });
    assert_eq!(reply, expect);
}

#[test]
fn a_stream_brings_the_same_answer_in_pieces() {
    let server = server();
    for usage in [false, true] {
        let more = json!({"temperature": 1, "seed": 4, "max_tokens": 20});
        let whole = chat(&server, TUNED, more.clone()).ok();
        let mut request = body(TUNED, more);
        request["stream"] = json!(true);
        if usage {
            request["stream_options"] = json!({"include_usage": true});
        }
        let reply = server.post("/v1/chat/completions", &request);
        let mut events = events(&reply);
        if usage {
            let last = events.pop().unwrap();
            assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
            assert!(events.iter().all(|event| event.get("usage") == Some(&Value::Null)));
        } else {
            assert!(events.iter().all(|event| event.get("usage").is_none()));
        }
        let first = &events[0];
        for event in &events {
            assert_eq!(event["object"], "chat.completion.chunk");
            assert_eq!((&event["id"], &event["model"]), (&first["id"], &json!(TUNED)));
        }
        assert_eq!(first["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
        let last = &events.last().unwrap()["choices"][0];
        assert_eq!((&last["delta"], &last["finish_reason"]), (&json!({}), &json!("length")));
        let middle = &events[1..events.len() - 1];
        assert!(middle.len() > 1, "the text comes in more than one piece");
        assert!(middle.iter().all(|event| event["choices"][0]["finish_reason"].is_null()));
        let text: String =
            middle.iter().map(|event| event["choices"][0]["delta"]["content"].as_str().unwrap()).collect();
        assert_eq!(text, whole["choices"][0]["message"]["content"].as_str().unwrap());
    }
}

#[test]
fn adapters_and_both_prefixes_answer() {
    let server = server();
    let base = answer(chat(&server, BASE, json!({})));
    let tuned = answer(chat(&server, TUNED, json!({})));
    assert_ne!(base, tuned);
    let prefixed = server.post("/inference/v1/chat/completions", &body(TUNED, json!({})));
    assert_eq!(answer(prefixed), tuned);
    assert_eq!(answer(chat(&server, BASE, json!({}))), base);
}

#[test]
fn stop_strings_and_text_parts_work() {
    let server = server();
    let full = answer(chat(&server, BASE, json!({})));
    let stop: String = full.chars().skip(4).take(2).collect();
    let reply = chat(&server, BASE, json!({"stop": ["\u{1}", stop]})).ok();
    let choice = &reply["choices"][0];
    assert_eq!(choice["message"]["content"].as_str().unwrap(), &full[..full.find(&stop).unwrap()]);
    assert_eq!(choice["finish_reason"], "stop");

    let parts = json!([{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]);
    let messages = json!([{"role": "user", "content": parts}]);
    assert_eq!(answer(chat(&server, BASE, json!({"messages": messages, "user": "u", "n": 1}))), full);
}
