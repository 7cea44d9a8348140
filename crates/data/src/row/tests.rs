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
    check(
        r#"{"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}"#,
        r#"system "s"; user "q"; assistant "a" (ShareGpt) (SystemBeside)"#,
    );
    check(
        &format!(r#"{{"tools": [{{"name": "f"}}], "messages": [{USER}, {ANSWER}]}}"#),
        r#"{"type":"function","function":{"name":"f"}}; user "q"; assistant "a" (BareTools)"#,
    );
    check(
        &chat(r#"{"role": "assistant", "tool_calls": [{"name": "f", "parameters": {"x": 1}}]}"#),
        r#"assistant "" calls f{"x":1} (Arguments)"#,
    );
}

/// A row with this as the text of a `function_call`.
fn share_call(value: &str) -> String {
    let value = Value::from(value);
    format!(
        r#"{{"conversations": [{{"from": "human", "value": "q"}}, {{"from": "function_call", "value": {value}}}]}}"#
    )
}

#[test]
fn calls_in_the_text_of_a_message_are_read_as_others() {
    for (call, expect) in [
        (r#"{"name": "f"}"#, "f{}"),
        (r#"{"name": "f", "arguments": null}"#, "f{}"),
        (r#"{"name": "f", "arguments": "{\"b\": 1, \"a\": 1.0}"}"#, r#"f{"b":1,"a":1.0}"#),
        (r#"{"name": "f", "parameters": {"x": 1e30}}"#, r#"f{"x":1e+30}"#),
        (r#"[{"name": "f"}, {"id": "c", "type": "function", "function": {"name": "g"}}]"#, "f{} calls g{}c"),
    ] {
        check(&share_call(call), &format!(r#"user "q"; assistant "" calls {expect} (ShareGpt)"#));
    }
    check(
        r#"{"conversations": [{"from": "function_call", "value": {"name": "f", "arguments": {"x": 1}}}]}"#,
        r#"assistant "" calls f{"x":1} (ShareGpt) (Arguments)"#,
    );
    let at = "line 7, /conversations/1/value:";
    let json = "write {\"name\": …, \"arguments\": {…}}";
    for (call, expect) in [
        (
            r#"{"name": "f", "arguments": {"x": 1, "x": 2}}"#,
            format!("the text of a function_call is no usable JSON: the key is there twice in its object; {json}"),
        ),
        (
            r#"{"name": "f", "arguments": {"x": 123456789012345678901234}}"#,
            format!(
                "the text of a function_call is no usable JSON: the whole number has more digits than 64 bits hold; {json}"
            ),
        ),
        (r#"{"name": "", "arguments": {}}"#, "a call needs the name of a function, a string; add \"name\"".into()),
        (
            r#"{"name": "f", "arguments": [1]}"#,
            "the arguments of a call must be a string that holds a JSON object, this is a list; write a string that holds a \
             JSON object"
                .into(),
        ),
        (
            "{",
            format!(
                "the text of a function_call is no usable JSON: invalid JSON at column 1: the line ends too early; {json}"
            ),
        ),
        ("[]", "a function_call calls nothing: its list is empty; write a call, or remove the message".into()),
        ("3", format!("a function_call must be an object with name and arguments, this is a number; {json}")),
    ] {
        check(&share_call(call), &format!("{at} {expect}"));
    }
}

#[test]
fn nulls_say_nothing() {
    check(
        r#"{"prompt": null, "completion": null, "text": null, "conversations": null, "system": null, "tools": [{"type": null, "function": {"name": "f", "parameters": null}, "name": null}], "functions": null, "images": null, "messages": [{"role": "user", "from": null, "value": null, "content": [{"type": "text", "text": "q", "image_url": null}], "train": null}, {"role": "assistant", "content": "a", "function_call": null, "tool_calls": [{"id": null, "type": null, "function": {"name": "f", "arguments": null, "parameters": null}}]}]}"#,
        r#"{"type":null,"function":{"name":"f","parameters":null},"name":null}; user "q"; assistant "a" calls f{}"#,
    );
    check(
        r#"{"messages": null, "conversations": [{"role": null, "content": null, "from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}"#,
        r#"user "q"; assistant "a" (ShareGpt)"#,
    );
    check(
        r#"{"tools": [{"type": null, "function": null, "name": "f"}], "messages": [{"role": "assistant", "content": "a"}]}"#,
        r#"{"type":"function","function":{"type":null,"function":null,"name":"f"}}; assistant "a" (BareTools)"#,
    );
    check(r#"{"messages": null, "prompt": "p", "completion": "c"}"#, r#""p" -> "c""#);
    check(
        r#"{"prompt": null, "completion": "c"}"#,
        "line 7: a completion row needs the field prompt; add prompt",
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
    for field in ["image", "images", "audio", "video", "videos"] {
        check(
            &format!(r#"{{"{field}": ["x"], "messages": [{ANSWER}]}}"#),
            &format!("line 7, /{field}: the field {field} is not supported: rows hold text only; remove it"),
        );
        check(
            &chat(&format!(r#"{{"role": "assistant", "content": "a", "{field}": "x"}}"#)),
            &format!(
                "line 7, /messages/0/{field}: the field {field} is not supported: rows hold text only; remove it"
            ),
        );
    }
    for field in ["train", "loss", "loss_weight"] {
        check(
            &chat(&format!(r#"{{"role": "assistant", "content": "a", "{field}": false}}"#)),
            &format!(
                "line 7, /messages/0/{field}: the field {field} is not supported; write weight 0 for an answer that is not \
                 learnt, and remove it"
            ),
        );
    }
    check(
        &chat(r#"{"role": "assistant", "content": "a", "prefix": true}"#),
        "line 7, /messages/0/prefix: the field prefix is not supported; remove it",
    );
    for field in ["chosen", "rejected"] {
        check(
            &format!(r#"{{"prompt": "p", "completion": "c", "{field}": "x"}}"#),
            &format!(
                "line 7, /{field}: the field {field} is not supported: this trains on answers, not on preferences; make the \
                 better answer the last message or the completion"
            ),
        );
    }
    check(
        &format!(r#"{{"documents": [{{"text": "d"}}], "messages": [{ANSWER}]}}"#),
        "line 7, /documents: the field documents is not supported; write what they say into a message, or remove it",
    );
    for rest in [format!(r#""messages": [{ANSWER}]"#), r#""prompt": "p", "completion": "c""#.to_owned()] {
        check(
            &format!(r#"{{"system": "s", {rest}}}"#),
            "line 7, /system: system beside the other fields is not supported; make it the first message, or the beginning \
             of the prompt",
        );
    }
    check(
        r#"{"system": "s", "conversations": [{"from": "system", "value": "s"}, {"from": "gpt", "value": "a"}]}"#,
        "line 7, /conversations/0/from: a system message may only be the first message; move it to the beginning, or join \
         it with the message behind it",
    );
    // Settings of a request, which are not rendered.
    let settings =
        r#""response_format": {"type": "text"}, "parallel_tool_calls": true, "metadata": {"a": 1}, "id": 1"#;
    check(&format!(r#"{{{settings}, "messages": [{ANSWER}]}}"#), r#"assistant "a""#);
}

#[test]
fn one_thing_is_not_said_twice() {
    check(
        &format!(r#"{{"messages": [{ANSWER}], "conversations": [{ANSWER}]}}"#),
        "line 7: a row has either messages or conversations, not both; keep one of them",
    );
    check(
        &format!(r#"{{"tools": [{{"name": "f"}}], "functions": [{{"name": "g"}}], "messages": [{ANSWER}]}}"#),
        "line 7: a row has either tools or functions, not both; keep tools",
    );
    let call = r#"{"name": "f", "arguments": "{}"}"#;
    check(
        &chat(&format!(
            r#"{{"role": "assistant", "function_call": {call}, "tool_calls": [{{"function": {call}}}]}}"#
        )),
        "line 7, /messages/0: a message has either tool_calls or function_call, not both; keep tool_calls",
    );
}

#[test]
fn unsupported_content() {
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
        &chat(r#"{"role": "user", "content": [{"type": "text"}, {"type": "text", "text": 1}]}"#),
        "line 7, /messages/0/content/0: a text part needs the field text; add text; \
         line 7, /messages/0/content/1/text: the text of a part must be a string, this is a number; write a string",
    );
    check(
        &chat(r#"{"role": "user", "content": ["a"]}"#),
        "line 7, /messages/0/content/0: a content part needs the field type; add type",
    );
}
