//! Several answers to one conversation, and what else a reply can hold.

use serde_json::{Value, json};

use super::{BASE, body, chat, events, server};

#[test]
fn choices_differ_and_a_seed_brings_them_again() {
    let server = server();
    let more = json!({"temperature": 2, "seed": 5, "n": 4});
    let reply = chat(&server, BASE, more.clone()).ok();
    let contents = |reply: &Value| -> Vec<String> {
        let choices = reply["choices"].as_array().unwrap().iter().enumerate();
        choices
            .map(|(i, choice)| {
                assert_eq!(choice["index"], i);
                choice["message"]["content"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    let texts = contents(&reply);
    assert_eq!((texts.len(), &reply["usage"]["completion_tokens"]), (4, &json!(48)));
    assert!((1..4).all(|i| !texts[..i].contains(&texts[i])), "{texts:?}");
    assert_eq!(contents(&chat(&server, BASE, more.clone()).ok()), texts);
    let mut one = more.clone();
    one["n"] = json!(1);
    assert_eq!(contents(&chat(&server, BASE, one).ok()), texts[..1]);

    let mut request = body(BASE, more);
    request["stream"] = json!(true);
    let mut streamed = vec![String::new(); 4];
    let mut roles = [0; 4];
    for event in events(&server.post("/v1/chat/completions", &request)) {
        let choice = &event["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        streamed[index] += choice["delta"]["content"].as_str().unwrap_or_default();
        roles[index] += usize::from(choice["delta"]["role"] == "assistant");
    }
    assert_eq!((streamed, roles), (texts, [1; 4]));
}

#[test]
fn an_unseeded_request_has_choices_that_differ() {
    let server = server();
    let reply = chat(&server, BASE, json!({"temperature": 2, "n": 2, "max_tokens": 100})).ok();
    let content = |i: usize| &reply["choices"][i]["message"]["content"];
    assert_ne!(content(0), content(1));
}

#[test]
fn token_ids_raw_output_and_times_are_there_when_asked_for() {
    let server = server();
    let plain = chat(&server, BASE, json!({})).ok();
    let more = json!({
        "return_token_ids": true, "raw_output": true, "perf_metrics_in_response": true, "logprobs": true, "echo": true,
    });
    let reply = chat(&server, BASE, more.clone());
    let header = |name: &str| reply.headers[name].parse::<f64>().unwrap();
    let (first, all) =
        (header("fireworks-server-time-to-first-token"), header("fireworks-server-processing-time"));
    assert!(0.0 < first && first <= all, "{first} {all}");
    let prompt_tokens = plain["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(header("fireworks-prompt-tokens"), prompt_tokens as f64);
    let reply = reply.ok();
    assert_eq!(
        reply["perf_metrics"],
        json!({
            "prompt-tokens": prompt_tokens, "cached-prompt-tokens": 0, "server-time-to-first-token": first,
            "server-processing-time": all,
        })
    );
    let (choice, text) = (&reply["choices"][0], plain["choices"][0]["message"]["content"].as_str().unwrap());
    let raw = &choice["raw_output"];
    assert_eq!(raw["completion"], text);
    assert_eq!(
        (&raw["prompt_token_ids"], &raw["completion_token_ids"]),
        (&reply["prompt_token_ids"], &choice["token_ids"])
    );
    assert_eq!(reply["prompt_token_ids"].as_array().unwrap().len() as u64, prompt_tokens);
    assert_eq!(choice["token_ids"].as_array().unwrap().len(), 12);
    let prompt = raw["prompt_fragments"][0].as_str().unwrap();
    assert!(prompt.ends_with("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"), "{prompt}");
    assert_eq!(choice["message"]["content"], format!("{prompt}{text}"));
    let entries = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(entries.len() as u64, prompt_tokens + 12);
    assert_eq!(raw["completion_logprobs"]["content"], json!(entries[prompt_tokens as usize..]));
    for absent in ["prompt_token_ids", "perf_metrics"] {
        assert!(plain.get(absent).is_none());
    }

    let mut request = body(BASE, more);
    request["stream"] = json!(true);
    let events = events(&server.post("/v1/chat/completions", &request));
    assert_eq!(events[0]["prompt_token_ids"], reply["prompt_token_ids"]);
    let last = events.last().unwrap();
    assert_eq!(last["choices"][0]["raw_output"], *raw);
    assert_eq!(last["perf_metrics"]["prompt-tokens"], prompt_tokens);
    let all: Vec<Value> = events
        .iter()
        .filter_map(|event| event["choices"][0].get("token_ids"))
        .flat_map(|ids| ids.as_array().unwrap().clone())
        .collect();
    assert_eq!(json!(all), choice["token_ids"]);
}

#[test]
fn parameters_of_sampling_reach_the_sampler() {
    let server = server();
    let content = |more: Value| {
        let reply = chat(&server, BASE, more).ok();
        reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let greedy = content(json!({}));
    let hot = json!({"temperature": 2, "seed": 1});
    let with = |name: &str, value: Value| {
        let mut more = hot.clone();
        more[name] = value;
        content(more)
    };
    assert_ne!(content(hot.clone()), greedy);
    // Each of these leaves only the likeliest token.
    for (name, value) in [("top_k", json!(1)), ("top_p", json!(0)), ("min_p", json!(1))] {
        assert_eq!(with(name, value), greedy, "{name}");
    }
    assert_ne!(with("typical_p", json!(0)), content(hot));
    let forced = content(json!({"logit_bias": {"77": 100}, "return_token_ids": true}));
    assert_ne!(forced, greedy);
    for (name, value) in [("repetition_penalty", 2.0), ("presence_penalty", 2.0), ("frequency_penalty", 2.0)]
    {
        let mut more = json!({"logit_bias": {"77": 60}, "max_tokens": 60});
        let repeated = content(more.clone());
        more[name] = json!(value);
        assert_ne!(content(more), repeated, "{name}");
    }
}

#[test]
fn long_conversations_are_cut_to_fit() {
    let server = server();
    let turn = |role: &str| json!({"role": role, "content": "7".repeat(60)});
    let mut messages = vec![json!({"role": "system", "content": "s"})];
    for _ in 0..3 {
        messages.extend([turn("user"), turn("assistant")]);
    }
    messages.push(json!({"role": "user", "content": "last"}));
    let count = |messages: &[Value], more: Value| {
        let mut body = body(BASE, more);
        body["messages"] = json!(messages);
        server.post("/v1/chat/completions", &body).ok()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let least = count(&[messages[0].clone(), messages[7].clone()], json!({}));
    let whole = count(&messages, json!({}));
    let cut = count(&messages, json!({"prompt_truncate_len": whole - 1}));
    assert!(least < cut && cut < whole, "{least} {cut} {whole}");
    assert_eq!(count(&messages, json!({"prompt_truncate_len": least})), least);
}
