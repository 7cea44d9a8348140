//! Tools: what is shown to the model, calls in answers, and what is refused.

use serde_json::{Value, json};

use super::{BASE, body, chat, events, install, install_with};
use crate::server::Server;

/// A model whose template shows tools in tags.
const CALLER: &str = "accounts/fireworks/models/caller";
const TEMPLATE: &str = "{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}<tool_call><|im_end|>{% endif %}\
    {% for m in messages %}<|im_start|>{{ m.role }} {{ m.tool_call_id }}\n{{ m.content }}\
    {% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}<|im_end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn caller() -> Server {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), BASE, None, 1);
    install_with(dir.path(), CALLER, None, 2, Some(TEMPLATE));
    Server::start_in(dir)
}

fn tools() -> Value {
    let tool = |name: &str, parameters: Value| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
    json!([
        tool(
            "go",
            json!({"type": "object", "properties": {"to": {"enum": ["a", "b"]}}, "required": ["to"],
            "additionalProperties": false})
        ),
        tool("stop", json!({"type": "object", "properties": {}, "additionalProperties": false})),
    ])
}

/// Requests that must call, with seeds until two answers are not cut, and those answers.
fn called(server: &Server, more: Value) -> Vec<(Value, Value)> {
    let replies = (0..40).filter_map(|seed| {
        let mut request = json!({"temperature": 1, "seed": seed, "max_tokens": 160, "tools": tools()});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = chat(server, CALLER, request.clone()).ok();
        (reply["choices"][0]["finish_reason"] != "length").then_some((request, reply))
    });
    let replies: Vec<(Value, Value)> = replies.take(2).collect();
    assert_eq!(replies.len(), 2, "the others were cut");
    replies
}

#[test]
fn a_call_that_must_be_made_is_made_and_streams_as_deltas() {
    let server = caller();
    for (request, reply) in called(&server, json!({"tool_choice": "required", "parallel_tool_calls": false}))
    {
        let choice = &reply["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        let message = &choice["message"];
        assert_eq!((&message["role"], &message["content"]), (&json!("assistant"), &Value::Null));
        let calls = message["tool_calls"].as_array().unwrap();
        assert_eq!((calls.len(), &calls[0]["type"]), (1, &json!("function")));
        assert!(calls[0]["id"].as_str().unwrap().starts_with("call_"));
        let function = &calls[0]["function"];
        let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
        match function["name"].as_str().unwrap() {
            "go" => {
                assert!(arguments == json!({"to": "a"}) || arguments == json!({"to": "b"}), "{arguments}")
            }
            "stop" => assert_eq!(arguments, json!({})),
            name => panic!("{name}"),
        }

        let mut request = body(CALLER, request);
        request["stream"] = json!(true);
        let events = events(&server.post("/v1/chat/completions", &request));
        assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
        let deltas: Vec<&Value> = events.iter().map(|event| &event["choices"][0]["delta"]).collect();
        assert!(deltas.iter().all(|delta| delta["content"].as_str().unwrap_or_default().is_empty()));
        let parts: Vec<&Value> = deltas.iter().filter_map(|delta| delta["tool_calls"].get(0)).collect();
        assert_eq!(parts.len(), 2);
        assert_eq!((&parts[0]["index"], &parts[0]["type"]), (&json!(0), &json!("function")));
        assert_eq!(parts[0]["function"], json!({"name": function["name"], "arguments": ""}));
        assert_eq!(*parts[1], json!({"index": 0, "function": {"arguments": function["arguments"]}}));
    }
}

#[test]
fn a_named_function_is_the_one_that_is_called() {
    let server = caller();
    let choice = json!({"type": "function", "function": {"name": "stop"}});
    for (_, reply) in called(&server, json!({"tool_choice": choice, "parallel_tool_calls": false})) {
        let calls = &reply["choices"][0]["message"]["tool_calls"];
        assert_eq!(calls[0]["function"], json!({"name": "stop", "arguments": "{}"}));
        assert_eq!(calls.as_array().unwrap().len(), 1);
    }
}

#[test]
fn tools_and_earlier_calls_are_in_the_prompt() {
    let server = caller();
    let prompt = |more: Value| {
        let reply = chat(&server, CALLER, more).ok();
        let fragment = &reply["choices"][0]["raw_output"]["prompt_fragments"][0];
        fragment.as_str().unwrap().to_owned()
    };
    let with = json!({"raw_output": true, "tools": tools()});
    assert!(prompt(with.clone()).contains(r#""name": "go""#));
    let mut none = with;
    none["tool_choice"] = json!("none");
    assert!(!prompt(none).contains("go"));
    let call =
        json!({"id": "c7", "type": "function", "function": {"name": "go", "arguments": r#"{"to":"a"}"#}});
    let messages = json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c7", "content": "there"},
    ]);
    let shown = prompt(json!({"raw_output": true, "messages": messages}));
    assert!(shown.contains(r#"go{"to": "a"}<|im_end|>"#) && shown.contains("tool c7\nthere"), "{shown}");
}

#[test]
fn text_stays_text_when_the_model_may_choose() {
    let server = caller();
    let reply = chat(&server, CALLER, json!({"tools": tools()})).ok();
    let message = &reply["choices"][0]["message"];
    assert!(!message["content"].as_str().unwrap().is_empty() && message.get("tool_calls").is_none());
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let server = caller();
    let check = |model: &str, more: Value, expect: &str| {
        let reply = chat(&server, model, more);
        let error = &reply.json()["error"];
        assert_eq!(reply.status, 400, "{error}");
        let param = error["param"].as_str().unwrap_or("-");
        assert_eq!(format!("{param}: {}", error["message"].as_str().unwrap()), expect);
    };
    let because = "with this model: its chat template does not show tools; describe them in a system message and ask \
                   for JSON by response_format";
    check(BASE, json!({"tools": tools()}), &format!("tools: tools cannot be used {because}"));
    let messages = json!([{"role": "tool", "tool_call_id": "c", "content": "x"}]);
    let holds = format!("messages: messages hold calls of tools, which cannot be used {because}");
    check(BASE, json!({"messages": messages}), &holds);
    check(
        CALLER,
        json!({"tools": tools(), "response_format": {"type": "json_object"}}),
        "response_format: response_format does not go with tools; leave one of them out, or set tool_choice to \"none\"",
    );
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"not": {}}}});
    check(
        CALLER,
        json!({"tools": [tool], "tool_choice": "required"}),
        "tools: tools has a function \"f\" whose schema of parameters is not supported: the keyword \"not\" is not \
         supported",
    );
    assert_eq!(chat(&server, BASE, json!({"tools": tools(), "tool_choice": "none"})).status, 200);
}

#[test]
fn the_model_list_tells_who_can() {
    let server = caller();
    let list = server.get("/v1/models").ok();
    let can = |id: &str| {
        let models = list["data"].as_array().unwrap();
        models.iter().find(|model| model["id"] == id).unwrap()["supports_tools"].clone()
    };
    assert_eq!((can(CALLER), can(BASE)), (json!(true), json!(false)));
    assert_eq!(server.get(&format!("/v1/models/{CALLER}")).ok()["supports_tools"], true);
}
