//! What is refused, and how it is said.

use serde_json::{Value, json};

use super::{BASE, FOREIGN, TUNED, answer, body, chat, install, server};
use crate::server::Reply;

const NOT_FOUND: &str = "model not found, inaccessible, and/or not deployed";

/// `status type code param: message`.
fn shown(reply: &Reply) -> String {
    let body = reply.json();
    let error = &body["error"];
    assert_eq!(error["request_id"].as_str(), reply.headers.get("x-request-id").map(String::as_str), "{body}");
    assert_eq!(error["object"], "error", "{body}");
    let text = |name: &str| error[name].as_str().unwrap_or("-").to_owned();
    format!("{} {} {} {}: {}", reply.status, text("type"), text("code"), text("param"), text("message"))
}

#[test]
fn bad_requests_are_named() {
    let server = server();
    let check = |more: Value, expect: &str| {
        assert_eq!(shown(&chat(&server, BASE, more.clone())), expect, "{more}");
    };
    check(
        json!({"temperature": 2.5}),
        "400 invalid_request_error invalid_value temperature: temperature must be from 0 to 2, not 2.5",
    );
    check(
        json!({"top_p": 2}),
        "400 invalid_request_error invalid_value top_p: top_p must be from 0 to 1, not 2",
    );
    check(
        json!({"stop": ["a", "b", "c", "d", "e"]}),
        "400 invalid_request_error invalid_value stop: stop may hold at most 4 strings, not 5",
    );
    check(
        json!({"functions": [{}]}),
        "400 invalid_request_error unsupported_parameter functions: functions is not supported yet",
    );
    check(
        json!({"colour": 1}),
        "400 invalid_request_error unknown_parameter colour: unrecognized request argument: colour",
    );
    check(
        json!({"messages": [{"role": "user", "content": "7".repeat(600)}]}),
        "400 invalid_request_error context_length_exceeded messages: the prompt has 632 tokens but the model's \
         context holds 512, and at least one must remain for the answer",
    );
    let raw = |body: &[u8]| shown(&server.send("POST", "/v1/chat/completions", body));
    assert_eq!(
        raw(b"{"),
        "400 invalid_request_error invalid_json -: the request body is not valid JSON: \
         EOF while parsing an object at line 1 column 1"
    );
    assert_eq!(
        raw(&vec![b' '; 5 << 20]),
        "413 invalid_request_error request_too_large -: the request body is larger than 4194304 bytes"
    );
    let wrong_method = server.get("/v1/chat/completions");
    assert_eq!(
        shown(&wrong_method),
        "405 invalid_request_error method_not_allowed -: method GET is not allowed here"
    );
    assert_eq!(
        shown(&server.post("/inference/v1/embeddings", &json!({}))),
        "404 invalid_request_error unknown_url -: POST /inference/v1/embeddings is not supported; \
         chat/completions, completions and models are"
    );
}

#[test]
fn errors_of_a_stream_come_before_it_starts() {
    let server = server();
    let reply = chat(&server, BASE, json!({"stream": true, "max_tokens": 0}));
    assert_eq!(
        shown(&reply),
        "400 invalid_request_error invalid_value max_tokens: max_tokens must be at least 1, or 0 \
         together with echo"
    );
}

#[test]
fn keys_open_their_own_models_and_those_of_the_catalogue() {
    let server = server();
    let key = server.account("other");
    let send = |key: Option<&str>, model: &str| {
        server.send_as(key, "POST", "/v1/chat/completions", body(model, json!({})).to_string().as_bytes())
    };
    assert!(!answer(send(Some(&key), BASE)).is_empty());
    assert!(!answer(send(Some(&key), FOREIGN)).is_empty());
    let not_found =
        |model: &str| format!("404 invalid_request_error model_not_found model: {NOT_FOUND}: {model}");
    for model in [TUNED, "accounts/default/models/none", "tiny", "", "accounts/other/models/../../x"] {
        assert_eq!(shown(&send(Some(&key), model)), not_found(model));
    }
    assert_eq!(
        shown(&send(None, BASE)),
        "401 authentication_error invalid_api_key -: no API key; send it as \"Authorization: Bearer KEY\" or as \
         \"x-api-key: KEY\""
    );
    assert_eq!(
        shown(&send(Some("wrong"), BASE)),
        "401 authentication_error invalid_api_key -: the API key is not valid"
    );
}

#[test]
fn a_deleted_adapter_is_gone_at_once_and_a_new_one_of_its_name_is_another() {
    let server = server();
    let first = answer(chat(&server, TUNED, json!({})));
    server.delete("/v1/accounts/default/models/tuned").ok();
    assert_eq!(
        shown(&chat(&server, TUNED, json!({}))),
        format!("404 invalid_request_error model_not_found model: {NOT_FOUND}: {TUNED}")
    );
    // Installed while the server runs.
    install(server.dir.path(), TUNED, Some(BASE), 9);
    assert_ne!(answer(chat(&server, TUNED, json!({}))), first);
}
