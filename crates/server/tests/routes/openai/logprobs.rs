//! Log probabilities of chats.

use serde_json::{Value, json};

use super::{BASE, body, chat, events, server};

#[test]
fn both_forms_say_the_same() {
    let server = server();
    let more =
        |logprobs: Value| json!({"temperature": 1, "seed": 3, "logprobs": logprobs, "top_logprobs": 2});
    let new = chat(&server, BASE, more(json!(true))).ok();
    let old = chat(&server, BASE, more(json!(5))).ok();
    assert_eq!(new["choices"][0]["message"], old["choices"][0]["message"]);
    let content = new["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let legacy = &old["choices"][0]["logprobs"];
    assert_eq!(content.len(), 12);
    let text = new["choices"][0]["message"]["content"].as_str().unwrap();
    let joined: Vec<u8> = content
        .iter()
        .flat_map(|token| serde_json::from_value::<Vec<u8>>(token["bytes"].clone()).unwrap())
        .collect();
    assert!(String::from_utf8_lossy(&joined).starts_with(text));
    for (i, token) in content.iter().enumerate() {
        let logprob = token["logprob"].as_f64().unwrap();
        let top = token["top_logprobs"].as_array().unwrap();
        assert!(
            logprob < 0.0 && token["sampling_logprob"] == token["logprob"],
            "temperature 1 changes nothing"
        );
        assert_eq!(top.len(), 2);
        assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64());
        assert_eq!(token["token"], legacy["tokens"][i]);
        assert_eq!(token["logprob"], legacy["token_logprobs"][i]);
        assert_eq!(token["text_offset"], legacy["text_offset"][i]);
        assert_eq!(token["token_id"], legacy["token_ids"][i]);
        let named = legacy["top_logprobs"][i].as_object().unwrap();
        for top in top {
            assert_eq!(named[top["token"].as_str().unwrap()], top["logprob"]);
        }
        assert_eq!(named[token["token"].as_str().unwrap()], token["logprob"]);
    }
}

#[test]
fn they_are_of_the_model_whatever_the_sampling() {
    let server = server();
    let more = json!({"logprobs": true, "top_logprobs": 1, "max_tokens": 1});
    let first = |more: Value| chat(&server, BASE, more).ok()["choices"][0]["logprobs"]["content"][0].clone();
    let plain = first(more.clone());
    assert_eq!(plain["sampling_logprob"], 0.0, "a greedy token is certain");
    let mut forced = more;
    forced["logit_bias"] = json!({plain["token_id"].to_string(): -100});
    let forced = first(forced);
    assert_ne!(forced["token_id"], plain["token_id"]);
    assert_eq!(forced["top_logprobs"], plain["top_logprobs"]);
    assert!(forced["logprob"].as_f64() < plain["logprob"].as_f64());
}

#[test]
fn a_stream_brings_them_with_their_text() {
    let server = server();
    let more = json!({"logprobs": true, "stop": ["\u{1}"]});
    let whole = chat(&server, BASE, more.clone()).ok();
    let mut request = body(BASE, more);
    request["stream"] = json!(true);
    let mut all = Vec::new();
    for event in events(&server.post("/v1/chat/completions", &request)) {
        let choice = &event["choices"][0];
        if let Some(logprobs) = choice.get("logprobs") {
            all.extend(logprobs["content"].as_array().unwrap().clone());
        }
    }
    assert_eq!(json!(all), whole["choices"][0]["logprobs"]["content"]);
}

#[test]
fn they_must_be_asked_for_in_a_way_that_exists() {
    let server = server();
    let check = |more: Value, expect: &str| {
        let reply = chat(&server, BASE, more.clone());
        let error = &reply.json()["error"];
        assert_eq!((reply.status, error["message"].as_str().unwrap()), (400, expect), "{more}");
    };
    check(json!({"logprobs": true, "top_logprobs": 6}), "top_logprobs must be from 0 to 5, not 6");
    check(json!({"top_logprobs": 1}), "top_logprobs needs logprobs to be true");
    check(json!({"logprobs": 6}), "logprobs must be true, false or an integer from 0 to 5");
}
