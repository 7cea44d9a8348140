//! Rendering against transformers' (fixtures by `conformance/golden_templates.py`), and the limits.

use serde_json::Value as Json;

use super::*;
use crate::row::{Role, ToolCall};

fn golden() -> Json {
    serde_json::from_str(include_str!("../../tests/fixtures/golden.json")).expect("the fixture is JSON")
}

fn conversation(value: &Json) -> Vec<Message> {
    let text = |value: &Json| value.as_str().expect("a string").to_owned();
    let role = |value: &Json| serde_json::from_value::<Role>(value.clone()).expect("a role");
    let message = |m: &Json| Message::new(role(&m["role"]), text(&m["content"]));
    value.as_array().expect("a list").iter().map(message).collect()
}

fn compile(source: &str) -> ChatTemplate {
    ChatTemplate::compile(source, &SpecialTokens::default()).expect("the template compiles")
}

#[track_caller]
fn check_error(source: &str, expect: &str) {
    let messages = [Message::new(Role::User, "SECRET")];
    let error = ChatTemplate::compile(source, &SpecialTokens::default())
        .and_then(|template| template.render(&messages, &[], true))
        .expect_err("an error")
        .to_string();
    assert_eq!(error, expect);
}

#[test]
fn renders_as_transformers_does() {
    let golden = golden();
    for rendering in golden["renderings"].as_array().expect("a list") {
        let special = &rendering["special_tokens"];
        let token = |name: &str| special[name].as_str().map(str::to_owned);
        let special =
            SpecialTokens { bos: token("bos_token"), eos: token("eos_token"), ..Default::default() };
        let source = rendering["template"].as_str().expect("a template");
        let template = ChatTemplate::compile(source, &special).expect("the template compiles");
        for case in rendering["cases"].as_array().expect("a list") {
            let messages =
                conversation(&golden["conversations"][case[0].as_u64().expect("an index") as usize]);
            let text = template.render(&messages, &[], case[1] == true).expect("the template renders");
            assert_eq!(text, case[2].as_str().expect("a text"), "{} {}", rendering["name"], case[0]);
        }
    }
}

/// Messages with calls of tools, as the API gives them.
fn tool_conversation(value: &Json) -> Vec<Message> {
    let call = |value: &Json| ToolCall {
        id: value["id"].as_str().expect("an id").to_owned(),
        name: value["function"]["name"].as_str().expect("a name").to_owned(),
        arguments: value["function"]["arguments"].as_object().expect("arguments").clone(),
    };
    let mut messages = conversation(value);
    for (message, value) in messages.iter_mut().zip(value.as_array().expect("a list")) {
        message.tool_calls = value["tool_calls"].as_array().into_iter().flatten().map(call).collect();
        message.tool_call_id = value["tool_call_id"].as_str().map(str::to_owned);
    }
    messages
}

#[test]
fn tools_are_rendered_as_transformers_does() {
    let golden = golden();
    let tools = golden["tools"].as_array().expect("a list");
    let mut forms = Vec::new();
    for rendering in golden["tool_renderings"].as_array().expect("a list") {
        let special = &rendering["special_tokens"];
        let token = |name: &str| special[name].as_str().map(str::to_owned);
        let special =
            SpecialTokens { bos: token("bos_token"), eos: token("eos_token"), ..Default::default() };
        let source = rendering["template"].as_str().expect("a template");
        forms.push(ToolForm::of(source).expect("it shows tools"));
        let template = ChatTemplate::compile(source, &special).expect("the template compiles");
        for case in rendering["cases"].as_array().expect("a list") {
            let index = case[0].as_u64().expect("an index") as usize;
            let messages = tool_conversation(&golden["tool_conversations"][index]);
            let tools = if case[1] == true { tools.as_slice() } else { &[] };
            let text = template.render(&messages, tools, true).expect("the template renders");
            assert_eq!(text, case[2].as_str().expect("a text"), "{} {index}", rendering["name"]);
        }
    }
    assert_eq!(forms, [ToolForm::Tags, ToolForm::Llama, ToolForm::Mistral]);
}

/// What a call in a message without text becomes.
#[track_caller]
fn check_call(source: &str, expect: &str) {
    let arguments = serde_json::json!({"x": 1.0, "y": null});
    let call = ToolCall {
        id: String::new(),
        name: "f".to_owned(),
        arguments: arguments.as_object().expect("an object").clone(),
    };
    let calling = Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") };
    let source =
        format!("{{% for m in messages %}}{{% for c in m.tool_calls %}}{source}{{% endfor %}}{{% endfor %}}");
    let text = compile(&source).render(&[Message::new(Role::User, "a"), calling], &[], false);
    assert_eq!(text.expect("the template renders"), expect);
}

#[test]
fn a_template_is_given_calls_in_the_form_that_it_takes() {
    check_call("{{ c.function.name }}{{ c.function.arguments | tojson }}", r#"f{"x": 1.0, "y": null}"#);
    check_call("{{ c.function.name + c.function.arguments }}", r#"f{"x": 1.0, "y": null}"#);
    check_call(
        "{% if m.content is none %}{{ c.function.name + c.function.arguments }}{% endif %}",
        r#"f{"x": 1.0, "y": null}"#,
    );
    // What shows no call at all is given the first form.
    check_call("{{ m.content is none }}{{ c.function.arguments is mapping }}", "FalseTrue");
    // An id that was not given is not there.
    check_call("{{ c.id is defined }}", "False");
}

#[test]
fn templates_without_tools_are_known() {
    let golden = golden();
    let forms: Vec<_> = golden["renderings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|rendering| ToolForm::of(rendering["template"].as_str().expect("a template")))
        .collect();
    // The third is in the manner of Llama 3 and prints its tools, but not calls.
    assert_eq!(forms, [None, None, Some(ToolForm::Unknown), None, None]);
}

#[test]
fn prints_as_python_does() {
    let golden = golden();
    let messages = conversation(&golden["conversations"][2]);
    for habit in golden["python_habits"].as_array().expect("a list") {
        let source = habit["template"].as_str().expect("a template");
        let text = compile(source).render(&messages, &[], false).unwrap_or_else(|error| error.to_string());
        assert_eq!(text, habit["text"].as_str().expect("a text"), "{source}");
    }
}

#[test]
fn a_template_that_loops_is_stopped() {
    check_error(
        "\n{% for a in range(9000) %}\n{% for b in range(9000) %}{% set c = a %}{% endfor %}{% endfor %}",
        "chat template, line 3: stopped after 10000000 instructions; a loop does not end",
    );
    check_error(
        "{% set x = 'x' * 60000 %}\n{% for a in range(9000) %}{{ x }}{% endfor %}",
        "chat template: writes more than 67108864 bytes",
    );
    check_error(
        "{% macro f() %}\n{{ f() }}{% endmacro %}{{ f() }}",
        "chat template, line 2: invalid operation: recursion limit exceeded",
    );
}

#[test]
fn errors_name_the_template_line() {
    check_error(
        "a\n{{ raise_exception('roles must alternate') }}",
        "chat template, line 2: refused the conversation: roles must alternate",
    );
    check_error(
        "{{ raise_exception('not ' ~ messages[0].content) }}",
        "chat template, line 1: refused the conversation, in words of which some may be the row's",
    );
    check_error(
        "{{ messages | tojson(indent=100000000000) }}",
        "chat template, line 1: invalid operation: tojson: indent is more than 64",
    );
    check_error("a\n\n{% if %}", "chat template, line 3: syntax error: unexpected end of block");
    check_error("{{ messages[0].x.y }}", "chat template, line 1: undefined value");
    check_error(
        "{{ messages | tojson(style=1) }}",
        "chat template, line 1: too many arguments: unknown keyword argument 'style'",
    );
}

#[test]
fn generation_tags_keep_their_white_space_marks() {
    let source = "a \n{%- generation %}b{% endgeneration -%}\n c";
    assert_eq!(without_generation_tags(source), "a \n{%- if true %}b{% endif -%}\n c");
    assert_eq!(compile(source).render(&[], &[], false).expect("it renders"), "abc");
    for source in ["{% generation", "{%}", "{%}- else -%}", "{%%}", "{%%"] {
        assert_eq!(without_generation_tags(source), source);
    }
}

#[test]
fn the_date_is_there() {
    let year = compile("{{ strftime_now('%Y') }}").render(&[], &[], false).expect("it renders");
    assert!(year.parse::<u32>().expect("a year") >= 2026);
}

#[test]
fn errors_quote_the_template_and_no_row() {
    let error = |source: &str, content: &str| {
        let messages = [Message::new(Role::User, content)];
        compile(source).render(&messages, &[], false).expect_err("an error").to_string()
    };
    for content in ["PRIVATE", "it's PRIVATE", "a' PRIVATE 'b"] {
        for source in [
            "{% include messages[0].content %}",
            "{{ raise_exception('no ' ~ messages[0].content) }}",
            "{{ strftime_now(messages[0].content ~ '%!') }}",
            "{{ messages[0][messages[0].content]() }}",
        ] {
            let error = error(source, content);
            assert!(!error.contains("PRIVATE"), "{error}");
        }
    }
    let error = error("{{ messages[0].content | nosuch }}", "a");
    assert!(error.contains("nosuch"), "{error}");
}

#[test]
fn the_digest_is_of_the_source() {
    let digest = compile("abc").sha256();
    assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
