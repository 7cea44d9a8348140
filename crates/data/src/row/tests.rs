//! Rows in, an outline or the error's text out.

use super::*;

/// What was read, one line a message (`-` marks weight 0), or the error.
fn outline(text: &str) -> String {
    let value: Value = serde_json::from_str(text).expect("the test's JSON is valid");
    match Row::from_value(7, &value) {
        Err(error) => error.to_string(),
        Ok(Row { content: RowContent::Completion { prompt, completion }, .. }) => {
            format!("{prompt:?} -> {completion:?}")
        }
        Ok(Row { content: RowContent::Chat(messages), .. }) => {
            let show = |m: &Message| {
                format!("{}{} {:?}", if m.trained { "" } else { "-" }, m.role.as_str(), m.content)
            };
            messages.iter().map(show).collect::<Vec<_>>().join("; ")
        }
    }
}

#[track_caller]
fn check(input: &str, expect: &str) {
    assert_eq!(outline(input), expect, "for {input}");
}

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
}

#[test]
fn shape_errors() {
    check("[]", "line 7: a row must be a JSON object, this is a list");
    check("{}", "line 7: a row needs the field messages, or the fields prompt and completion");
    check(r#"{"prompt": "p"}"#, "line 7: a completion row needs the field completion");
    check(
        r#"{"prompt": 3, "completion": "c"}"#,
        "line 7, /prompt: prompt must be a string, this is a number",
    );
    check(
        r#"{"prompt": "p", "completion": "c", "messages": []}"#,
        "line 7: a row has either messages, or prompt and completion, not both",
    );
    check(r#"{"messages": "x"}"#, "line 7, /messages: messages must be a list, this is a string");
    check(r#"{"messages": []}"#, "line 7, /messages: messages is empty");
    check(r#"{"messages": [1]}"#, "line 7, /messages/0: a message must be a JSON object, this is a number");
    check(r#"{"messages": [{"content": "x"}]}"#, "line 7, /messages/0: a message needs the field role");
    check(r#"{"messages": [{"role": "user"}]}"#, "line 7, /messages/0: a message needs the field content");
    check(
        &format!(r#"{{"messages": [{}1]}}"#, "1,".repeat(MAX_MESSAGES)),
        "line 7, /messages: a row has at most 2000 messages, this one has 2001",
    );
    check(
        r#"{"messages": [{"role": "user", "content": null}]}"#,
        "line 7, /messages/0/content: content must be a string or a list of text parts, this is null",
    );
}

#[test]
fn role_errors() {
    check(
        r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "tool", "content": "t"}]}"#,
        "line 7, /messages/2/role: role tool is not supported yet; use system, user or assistant",
    );
    check(
        r#"{"messages": [{"role": "humna", "content": "q"}]}"#,
        r#"line 7, /messages/0/role: unknown role "humna"; use system, user or assistant"#,
    );
    check(
        r#"{"messages": [{"role": "My card number is 4111", "content": "q"}]}"#,
        "line 7, /messages/0/role: unknown role; use system, user or assistant",
    );
    check(
        r#"{"messages": [{"role": "user", "content": "q"}, {"role": "system", "content": "s"}]}"#,
        "line 7, /messages/1/role: a system message may only be the first message",
    );
    check(
        r#"{"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}]}"#,
        "line 7, /messages/1/role: the last message must be from the assistant",
    );
}

#[test]
fn weight_errors() {
    check(
        r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0}]}"#,
        "line 7, /messages: every assistant message has weight 0, so nothing would be trained; give one weight 1 or drop the row",
    );
    for weight in ["0.5", "2", "true", r#""1""#] {
        check(
            &format!(r#"{{"messages": [{{"role": "assistant", "content": "a", "weight": {weight}}}]}}"#),
            "line 7, /messages/0/weight: weight must be 0 or 1",
        );
    }
}

#[test]
fn fields_that_would_change_training_are_refused() {
    for (field, value) in [("tools", "[{}]"), ("weight", "0.5"), ("functions", "[1]"), ("images", r#"["x"]"#)]
    {
        check(
            &format!(r#"{{"{field}": {value}, "messages": [{{"role": "assistant", "content": "a"}}]}}"#),
            &format!("line 7, /{field}: the field {field} is not supported yet; remove it"),
        );
    }
    for (field, value) in
        [("tool_calls", "[{}]"), ("reasoning_content", r#""because""#), ("name", r#""bob""#)]
    {
        check(
            &format!(r#"{{"messages": [{{"role": "assistant", "content": "a", "{field}": {value}}}]}}"#),
            &format!("line 7, /messages/0/{field}: the field {field} is not supported yet; remove it"),
        );
    }
    check(
        r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": "x"}]}]}"#,
        r#"line 7, /messages/0/content/1/type: content parts of type "image_url" are not supported; use text"#,
    );
    check(
        r#"{"messages": [{"role": "user", "content": ["a"]}]}"#,
        "line 7, /messages/0/content/0: a content part must be an object with the field type",
    );
}
