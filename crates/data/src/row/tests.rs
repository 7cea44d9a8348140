//! Rows in, an outline or the faults' texts out.

use super::*;

/// What was read, one part a message (`-` marks weight 0), or the faults.
fn outline(text: &str) -> String {
    let row = match Row::from_text(7, text) {
        Err(bad) => return bad.to_string(),
        Ok(row) => row,
    };
    let mut out = match &row.content {
        RowContent::Completion { prompt, completion } => format!("{prompt:?} -> {completion:?}"),
        RowContent::Chat(Conversation { messages, tools }) => {
            let tools = tools.iter().map(|tool| format!("{tool}; "));
            let messages: Vec<String> = messages.iter().map(shown_message).collect();
            tools.collect::<String>() + &messages.join("; ")
        }
    };
    out.extend(row.weight.map(|weight| format!(" x{weight}")));
    out.extend(row.spellings.iter().map(|spelling| format!(" ({spelling:?})")));
    out
}

fn shown_message(m: &Message) -> String {
    let mut out = format!("{}{} {:?}", if m.trained { "" } else { "-" }, m.role.as_str(), m.content);
    out.extend(m.reasoning_content.iter().map(|text| format!(" thinks {text:?}")));
    out.extend(
        m.tool_calls
            .iter()
            .map(|call| format!(" calls {}{}{}", call.name, Value::Object(call.arguments.clone()), call.id)),
    );
    out.extend(m.tool_call_id.iter().map(|id| format!(" answers {id}")));
    out.extend(m.name.iter().map(|name| format!(" named {name}")));
    out
}

#[track_caller]
fn check(input: &str, expect: &str) {
    assert_eq!(outline(input), expect, "for {input}");
}

/// A row of these messages.
fn chat(messages: &str) -> String {
    format!(r#"{{"messages": [{messages}]}}"#)
}

const USER: &str = r#"{"role": "user", "content": "q"}"#;
const ANSWER: &str = r#"{"role": "assistant", "content": "a"}"#;

#[test]
fn good_rows() {
    check(
        r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, {"role": "assistant", "content": "c"}]}"#,
        r#"system "s"; user "ab"; assistant "c""#,
    );
    check(
        r#"{"id": 5, "metadata": {"x": 1}, "tools": [], "messages": [{"role": "user", "content": "q", "weight": 0, "tool_calls": null}, {"role": "assistant", "content": "a", "weight": 1}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "b", "weight": 0.0}]}"#,
        r#"-user "q"; assistant "a"; user "r"; -assistant "b""#,
    );
    check(r#"{"prompt": "p", "completion": "c"}"#, r#""p" -> "c""#);
    check(r#"{"text": "t", "weight": 0.5}"#, r#""" -> "t" x0.5"#);
    check(r#"{"prompt": "p", "completion": "c", "text": "pc", "weight": null}"#, r#""p" -> "c""#);
    // What follows the last answer is not used.
    check(&chat(&format!("{USER}, {ANSWER}, {USER}")), r#"user "q"; assistant "a"; user "q""#);
}

#[test]
fn tools_are_kept_as_they_stand() {
    let tool =
        r#"{"type":"function","function":{"name":"f","parameters":{"z":1.50,"a":null,"m":[1e2,-0.0]}}}"#;
    let call = r#"{"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": null}"}}]}"#;
    let result = r#"{"role": "tool", "tool_call_id": "c1", "name": "f", "content": "42"}"#;
    check(
        &format!(r#"{{"tools": [{tool}], "messages": [{USER}, {call}, {result}, {ANSWER}]}}"#),
        r#"{"type":"function","function":{"name":"f","parameters":{"z":1.5,"a":null,"m":[100.0,-0.0]}}}; user "q"; assistant "" calls f{"b":1,"a":null}c1; tool "42" answers c1 named f; assistant "a""#,
    );
    let thinks = r#"{"role": "assistant", "content": "a", "reasoning_content": "hm"}"#;
    check(&chat(&format!("{USER}, {thinks}")), r#"user "q"; assistant "a" thinks "hm""#);
}

#[test]
fn other_spellings_are_read_and_told() {
    check(
        r#"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "weight": 0}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"}, {"from": "observation", "value": "r"}, {"from": "gpt", "value": "b"}]}"#,
        r#"system "s"; user "q"; -assistant "a"; assistant "" calls f{"x":1}; tool "r"; assistant "b" (ShareGpt)"#,
    );
    check(
        &format!(
            r#"{{"functions": [{{"name": "f", "parameters": {{}}}}], "messages": [{USER}, {{"role": "assistant", "content": null, "function_call": {{"name": "f", "arguments": "{{}}"}}}}, {{"role": "function", "name": "f", "content": "r"}}, {ANSWER}]}}"#
        ),
        r#"{"type":"function","function":{"name":"f","parameters":{}}}; user "q"; assistant "" calls f{}; tool "r" named f; assistant "a" (Functions) (Roles)"#,
    );
    check(
        &format!(
            r#"{{"tools": "[{{\"type\": \"function\", \"function\": {{\"name\": \"f\"}}}}]", "messages": [{USER}, {ANSWER}]}}"#
        ),
        r#"{"type":"function","function":{"name":"f"}}; user "q"; assistant "a" (ToolsText)"#,
    );
    check(
        &chat(
            r#"{"role": "developer", "content": "s"}, {"role": "assistant", "content": "a", "thinking": "hm", "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1]}}}]}"#,
        ),
        r#"system "s"; assistant "a" thinks "hm" calls f{"x":[1]} (Roles) (Reasoning) (Arguments)"#,
    );
}

#[test]
fn shape_errors() {
    check("[]", "line 7: a row must be a JSON object, this is a list; write a JSON object");
    check(
        "{}",
        "line 7: a row needs the field messages, the fields prompt and completion, or the field text; add one of them",
    );
    check(
        r#"{"instruction": "p", "output": "q"}"#,
        "line 7: a row needs the field messages, the fields prompt and completion, or the field text; rename what is \
         asked to prompt and what is answered to completion",
    );
    check(r#"{"prompt": "p"}"#, "line 7: a completion row needs the field completion; add completion");
    check(
        r#"{"prompt": 3, "completion": "c"}"#,
        "line 7, /prompt: prompt must be a string, this is a number; write a string",
    );
    check(
        r#"{"prompt": "p", "completion": "c", "messages": []}"#,
        "line 7: a row has either messages, or prompt and completion, not both; keep one of them",
    );
    check(
        r#"{"messages": "x"}"#,
        "line 7, /messages: messages must be a list, this is a string; write a list",
    );
    check(r#"{"messages": []}"#, "line 7, /messages: messages is empty; add a question and an answer");
    check(
        &chat("1"),
        "line 7, /messages/0: a message must be a JSON object, this is a number; write a JSON object",
    );
    check(&chat(r#"{"content": "x"}"#), "line 7, /messages/0: a message needs the field role; add role");
    check(
        &chat(r#"{"role": "user"}"#),
        "line 7, /messages/0: a message needs the field content; add content",
    );
    check(
        &chat(&format!("{}1", "1,".repeat(MAX_MESSAGES))),
        "line 7, /messages: a row has at most 2000 messages, this one has 2001; divide it into several rows",
    );
    check(
        &chat(r#"{"role": "user", "content": null}"#),
        "line 7, /messages/0/content: content must be a string or a list of text parts, this is null; write a string or \
         a list of text parts",
    );
}

#[test]
fn all_faults_of_a_row_are_told() {
    check(
        &chat(r#"{"role": "humna", "content": 1}, {"content": "x", "weight": 2}, {"role": "user"}"#),
        "line 7, /messages/0/role: unknown role \"humna\"; use system, user, assistant or tool; \
         line 7, /messages/0/content: content must be a string or a list of text parts, this is a number; write a string \
         or a list of text parts; \
         line 7, /messages/1: a message needs the field role; add role; \
         line 7, /messages/1/weight: the weight of a message must be 0 or 1; write 1, or 0 for an answer that is not \
         learnt; the weight of the whole row may be another number; \
         line 7, /messages/2: a message needs the field content; add content",
    );
    let many = Row::from_text(7, &chat(&format!("{}1", "1,".repeat(100)))).expect_err("a bad row");
    assert_eq!(many.findings().len(), MAX_ROW_FINDINGS);
}

#[test]
fn role_errors() {
    check(
        &chat(r#"{"role": "My card number is 4111", "content": "q"}"#),
        "line 7, /messages/0/role: unknown role; use system, user, assistant or tool",
    );
    check(
        &chat(&format!(r#"{USER}, {{"role": "system", "content": "s"}}, {ANSWER}"#)),
        "line 7, /messages/1/role: a system message may only be the first message; move it to the beginning, or join it \
         with the message behind it",
    );
    check(
        &chat(USER),
        "line 7, /messages: no message is from the assistant, so there is nothing to learn; add the answer",
    );
    // Another program's names belong to its keys.
    check(
        &chat(r#"{"role": "human", "content": "q"}"#),
        "line 7, /messages/0/role: unknown role \"human\"; use system, user, assistant or tool",
    );
}

#[test]
fn tool_errors() {
    let result = |id: &str| format!(r#"{{"role": "tool", "content": "r", "tool_call_id": "{id}"}}"#);
    let call = r#"{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}"#;
    check(
        &chat(&format!("{USER}, {}, {ANSWER}", result("c"))),
        "line 7, /messages/1: a tool answers, but no call stands directly before it; add the assistant's message with \
         tool_calls, or remove the answer",
    );
    check(
        &chat(&format!("{USER}, {call}, {}, {ANSWER}", result("d"))),
        "line 7, /messages/2/tool_call_id: tool_call_id is the id of no call before it; write the id of the call that \
         this answers",
    );
    check(
        &chat(&format!("{USER}, {call}, {}, {}, {ANSWER}", result("c"), result("c"))),
        r#"user "q"; assistant "" calls f{}c; tool "r" answers c; tool "r" answers c; assistant "a""#,
    );
    for (arguments, what) in [
        (r#""{""#, "are no usable JSON: invalid JSON at column 1: the line ends too early"),
        (r#""[1]""#, "hold a list, not an object"),
    ] {
        check(
            &chat(&format!(
                r#"{{"role": "assistant", "tool_calls": [{{"function": {{"name": "f", "arguments": {arguments}}}}}]}}"#
            )),
            &format!(
                "line 7, /messages/0/tool_calls/0/function/arguments: the arguments of a call {what}; write the JSON text \
                 of an object"
            ),
        );
    }
    check(
        &format!(
            r#"{{"tools": [{{"function": {{}}}}, {{"type": "retrieval"}}, 3], "messages": [{ANSWER}]}}"#
        ),
        "line 7, /tools/0/function: a tool needs a name, a string; add \"name\" to its function; \
         line 7, /tools/1/type: only tools of type function are supported; write \"type\": \"function\"; \
         line 7, /tools/2: a tool must be a JSON object, this is a number; write a JSON object",
    );
}

#[test]
fn weight_errors() {
    check(
        &chat(&format!(r#"{USER}, {{"role": "assistant", "content": "a", "weight": 0}}"#)),
        "line 7, /messages: all messages of the assistant have weight 0; remove the row, or one of the weights",
    );
    for weight in ["0.5", "2", "true", r#""1""#] {
        check(
            &chat(&format!(r#"{{"role": "assistant", "content": "a", "weight": {weight}}}"#)),
            "line 7, /messages/0/weight: the weight of a message must be 0 or 1; write 1, or 0 for an answer that is not \
             learnt; the weight of the whole row may be another number",
        );
    }
    for weight in ["0", "-1", "1001"] {
        check(
            &format!(r#"{{"weight": {weight}, "text": "t"}}"#),
            "line 7, /weight: the weight of a row is out of range; give a number above 0, up to 1000, or remove a row that \
             must not be learnt",
        );
    }
}

#[test]
fn fields_that_would_change_training_are_refused() {
    for (field, value) in [("tool_choice", "\"auto\""), ("chat_template_kwargs", "{\"a\": 1}")] {
        check(
            &format!(r#"{{"{field}": {value}, "messages": [{ANSWER}]}}"#),
            &format!("line 7, /{field}: the field {field} is not supported; remove it"),
        );
    }
    check(
        &format!(r#"{{"images": ["x"], "messages": [{ANSWER}]}}"#),
        "line 7, /images: the field images is not supported: rows hold text only; remove it",
    );
    check(
        &chat(&format!(r#"{{"role": "user", "content": "q", "reasoning_content": "hm"}}, {ANSWER}"#)),
        "line 7, /messages/0/reasoning_content: only the assistant has the field reasoning_content; remove it, or correct \
         the role",
    );
    check(
        &chat(
            r#"{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": "x"}]}"#,
        ),
        "line 7, /messages/0/content/1/type: images are not supported: this server trains on text; use parts of type \
         text, or leave the row out",
    );
    check(
        &chat(r#"{"role": "user", "content": ["a"]}"#),
        "line 7, /messages/0/content/0: a content part needs the field type; add type",
    );
}
