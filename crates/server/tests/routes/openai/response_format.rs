//! Answers of a given form, from chats and completions.

use serde_json::{Value, json};

use super::{BASE, answer, body, chat, events, server};

fn schema() -> Value {
    json!({"type": "object", "properties": {"team": {"enum": ["billing", "delivery"]}, "urgent": {"type": "boolean"}},
        "required": ["team", "urgent"], "additionalProperties": false})
}

/// The answer, if it is complete: then it must be as the schema says.
fn check(choice: &Value, text: &str) -> bool {
    if choice["finish_reason"] == "length" {
        return false;
    }
    assert_eq!(choice["finish_reason"], "stop");
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value["team"] == "billing" || value["team"] == "delivery", "{value}");
    assert!(value["urgent"].is_boolean() && value.as_object().unwrap().len() == 2, "{value}");
    true
}

#[test]
fn answers_keep_to_a_schema_in_all_its_forms() {
    let server = server();
    let forms = [
        json!({"type": "json_schema", "json_schema": {"name": "ticket", "schema": schema(), "strict": true}}),
        json!({"type": "json_schema", "json_schema": schema()}),
        json!({"type": "json_object", "schema": schema()}),
    ];
    let mut complete = 0;
    for (seed, form) in forms.iter().enumerate() {
        let more =
            json!({"temperature": 1, "seed": seed, "max_tokens": 150, "response_format": form, "n": 3});
        let reply = chat(&server, BASE, more.clone()).ok();
        for choice in reply["choices"].as_array().unwrap() {
            complete += usize::from(check(choice, choice["message"]["content"].as_str().unwrap()));
        }
        let mut request = body(BASE, more);
        request.as_object_mut().unwrap().remove("messages");
        request["prompt"] = json!("ticket");
        let reply = server.post("/v1/completions", &request).ok();
        for choice in reply["choices"].as_array().unwrap() {
            complete += usize::from(check(choice, choice["text"].as_str().unwrap()));
        }
    }
    assert!(complete >= 6, "{complete}");
}

#[test]
fn a_grammar_is_kept_to_and_streams_as_text() {
    let server = server();
    let form = json!({"type": "grammar", "grammar": "root ::= (\"yes\" | \"no\") \".\""});
    let text = answer(chat(&server, BASE, json!({"response_format": form})));
    assert!(text == "yes." || text == "no.", "{text}");
    let request = body(BASE, json!({"response_format": form, "stream": true}));
    let events = events(&server.post("/v1/chat/completions", &request));
    let pieces = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(pieces.collect::<String>(), text);
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[test]
fn an_answer_that_is_cut_says_so() {
    let server = server();
    let more = json!({"response_format": {"type": "json_object"}, "max_tokens": 1});
    let reply = chat(&server, BASE, more).ok();
    let choice = &reply["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("length"), &json!("{")));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let server = server();
    let check = |form: Value, expect: &str| {
        for stream in [false, true] {
            let reply = chat(&server, BASE, json!({"response_format": form, "stream": stream}));
            let error = &reply.json()["error"];
            assert_eq!(reply.status, 400, "{error}");
            let shown =
                format!("{}: {}", error["param"].as_str().unwrap(), error["message"].as_str().unwrap());
            assert_eq!(shown, expect, "{form}");
        }
    };
    let with = |schema: Value| json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    check(
        with(json!({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": true}}})),
        "response_format: response_format is not supported: at /properties/a, the keyword \"uniqueItems\" is not \
         supported",
    );
    check(
        with(json!({"type": "thing"})),
        "response_format: response_format is not supported: Invalid type: thing",
    );
    check(
        json!({"type": "grammar", "grammar": "root ::= (\n"}),
        "response_format: response_format has an error in its grammar: line 2, column 1: \")\" is expected",
    );
    check(
        json!({"type": "json_schema"}),
        "response_format.json_schema: response_format.json_schema is required",
    );
}
