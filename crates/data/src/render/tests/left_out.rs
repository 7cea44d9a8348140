//! What a template leaves out of a row is told, or refused.

use super::*;

#[test]
fn tools_and_calls_that_a_template_leaves_out_are_not_lost_silently() {
    let call = ToolCall { id: "1".into(), name: "f".into(), arguments: serde_json::Map::new() };
    let calls = chat_of(vec![
        Message::new(User, "q"),
        Message { tool_calls: vec![call], ..Message::new(Assistant, "") },
    ]);
    let ignores = "{% for m in messages %}[]{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[]{% endif %}";
    check(
        &tiny(Some(ignores)),
        &calls,
        "line 3, /messages/1: the chat template does not write the tool calls of this answer; use a base or a template that \
         knows tools, or give the message weight 0",
    );
    let tools = vec![serde_json::json!({"type": "function", "function": {"name": "f"}})];
    let messages = vec![Message::new(User, "q"), Message::new(Assistant, "a")];
    check(
        &tiny(Some(ignores)),
        &Row::new(3, RowContent::Chat(Conversation { messages, tools })),
        "line 3, /tools: the chat template does not show the tools of the row; use a base or a template that knows tools, \
         or remove them",
    );
    // A name that stands in the text anyway shows nothing.
    let tools = vec![serde_json::json!({"type": "function", "function": {"name": "q"}})];
    let messages = vec![Message::new(User, "q"), Message::new(Assistant, "a")];
    let row = Row::new(3, RowContent::Chat(Conversation { messages, tools }));
    assert!(marked(&tiny(Some(ignores)), &row).contains("does not show the tools of the row"));
}

#[test]
fn what_a_template_leaves_out_of_a_prompt_is_told() {
    let told = |source: &str, texts: [&str; 3]| -> Vec<String> {
        let [system, argument, result] = texts.map(str::to_owned);
        let arguments = serde_json::json!({"place": [argument]}).as_object().expect("an object").clone();
        let call = ToolCall { id: "1".into(), name: "weather".into(), arguments };
        let row = chat_of(vec![
            Message::new(System, system),
            Message::new(User, "question"),
            Message { tool_calls: vec![call], ..Message::new(Assistant, "") },
            Message { tool_call_id: Some("1".into()), ..Message::new(Tool, result) },
            Message::new(Assistant, "answer"),
        ]);
        let rendered = tiny(Some(source)).render(&row, 1000).expect("it renders");
        assert_eq!(rendered.samples.len(), 1);
        rendered.left_out.iter().map(|finding| finding.pointer.clone()).collect()
    };
    let texts = ["system", "Praha \"8\"", "rain\nand wind"];
    let with = |system: &str, arguments: &str, result: &str| {
        format!(
            "{{% for m in messages %}}{{% if m.role == 'system' %}}{system}{{% elif m.role == 'tool' %}}{result}{{% else %}}[]\
             {{{{ m.content }}}}{{% for c in m.tool_calls or [] %}}{{{{ c.function.name }}}}{arguments}{{% endfor %}}\
             <|im_end|>{{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}[]{{% endif %}}"
        )
    };
    let (content, arguments) = ("{{ m.content }}", "{{ c.function.arguments | tojson }}");
    let nothing: [&str; 0] = [];
    assert_eq!(told(&with(content, arguments, content), texts), nothing);
    assert_eq!(told(&with(content, arguments, "{{ m.content | tojson }}"), texts), nothing);
    assert_eq!(told(&with(content, "{{ c.function.arguments | tojson | tojson }}", content), texts), nothing);
    assert_eq!(told(&with("", arguments, content), texts), ["/messages/0"]);
    assert_eq!(told(&with(content, arguments, ""), texts), ["/messages/3"]);
    let calls = ["/messages/2/tool_calls/0"; 2];
    assert_eq!(told(&with(content, "", content), texts), calls[..1]);
    assert_eq!(told(&with(content, "{}", content), texts), calls[..1]);
    assert_eq!(told(&with("", "", ""), texts), ["/messages/0", "/messages/2/tool_calls/0", "/messages/3"]);
}
