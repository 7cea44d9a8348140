//! A corrected file: what can be put right without guessing. Texts are never changed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Report;
use super::identity::Identifier;
use crate::error::Error;
use crate::finding::BadRow;
use crate::json::{self, Json};
use crate::read::{Kind, Limits, Line, LineReader, text_of, too_long};
use crate::render::Renderer;
use crate::row::{Message, Role, Row, RowContent};
use crate::source::{self, Source};

/// Most changes that are listed; the rest is only counted.
pub const MAX_LISTED_CHANGES: usize = 10_000;

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Line of the file that was read, from 1; 0 for the file.
    pub line: u64,
    /// What was done.
    pub message: String,
}

/// What a corrected file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fixed {
    /// Rows that were written.
    pub rows: u64,
    /// Rows that were left out.
    pub left_out: u64,
    /// Rows that were written otherwise.
    pub changed: u64,
    /// All changes.
    pub change_count: u64,
    /// The first `MAX_LISTED_CHANGES`.
    pub changes: Vec<Change>,
}

impl Fixed {
    fn push(&mut self, line: u64, message: impl Into<String>) {
        self.change_count += 1;
        if self.changes.len() < MAX_LISTED_CHANGES {
            self.changes.push(Change { line, message: message.into() });
        }
    }
}

/// What is written, and what not.
#[derive(Clone, Copy, Default)]
pub struct FixOptions<'a> {
    /// Limits of lines and rows.
    pub limits: Limits,
    /// What rows must be; `None` for what the first good row is.
    pub kind: Option<Kind>,
    /// Rows without a weight get 1, which is what they count.
    pub gives_weights: bool,
    /// With it, rows that it cannot render are left out.
    pub renderer: Option<&'a Renderer>,
}

impl<'a> FixOptions<'a> {
    /// What keeps most rows of a file of which [`check`](super::check) gave this report.
    pub fn of(report: &Report, limits: Limits, renderer: Option<&'a Renderer>) -> Self {
        let gives_weights = report.has_weights;
        let kind = report.kind.map(|kind| Kind { is_weighted: gives_weights, ..kind });
        FixOptions { limits, kind, gives_weights, renderer }
    }
}

/// Writes the good rows of `input` in this project's form: without byte order mark, line breaks of other systems, blank
/// lines, bad rows, rows of another format, rows that are there already, and messages behind the last answer that is
/// learnt. In rows that are rewritten, fields of messages that have no effect are left out.
pub fn fix(input: Source, mut output: impl Write, options: FixOptions<'_>) -> Result<Fixed, Error> {
    let limits = options.limits;
    let mut fixed = Fixed::default();
    let mut lines = LineReader::new(input, limits.line_bytes);
    let mut rows =
        Rows { options, kind: options.kind, identifier: Identifier::default(), lines: HashMap::new() };
    let (mut breaks, mut blanks) = (0u64, 0u64);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let found = match lines.next_line(&mut buffer) {
            Ok(Line::End) => break,
            Ok(found) => found,
            Err(error) => match source::finding(&error) {
                Some(finding) => {
                    fixed.push(lines.number() + 1, format!("the rest was left out: {}", finding.message));
                    break;
                }
                None => return Err(Error::Read(error)),
            },
        };
        let line = lines.number();
        if found == Line::TooLong {
            fixed.left_out += 1;
            fixed.push(line, format!("left out: {}", too_long(line, limits).message));
            continue;
        }
        if buffer.trim_ascii().is_empty() {
            blanks += 1;
            continue;
        }
        if fixed.rows == limits.rows {
            fixed.push(line, format!("the rest was left out: a dataset has at most {} rows", limits.rows));
            break;
        }
        if buffer.ends_with(b"\r") {
            buffer.pop();
            breaks += 1;
        }
        match rows.row(line, &buffer) {
            Ok(row) => {
                output
                    .write_all(row.text.as_bytes())
                    .and_then(|()| output.write_all(b"\n"))
                    .map_err(Error::Write)?;
                fixed.rows += 1;
                fixed.changed += u64::from(!row.changes.is_empty());
                row.changes.into_iter().for_each(|change| fixed.push(line, change));
            }
            Err(why) => {
                fixed.left_out += 1;
                fixed.push(line, format!("left out: {why}"));
            }
        }
    }
    output.flush().map_err(Error::Write)?;
    for (count, what) in [
        (lines.byte_order_marks(), "byte order marks were left out"),
        (breaks, "line breaks of another system were replaced"),
        (blanks, "blank lines were left out"),
    ] {
        if count > 0 {
            fixed.push(0, format!("{count} {what}"));
        }
    }
    Ok(fixed)
}

struct Written<'a> {
    text: Cow<'a, str>,
    changes: Vec<String>,
}

/// What is known of the rows before.
struct Rows<'r> {
    options: FixOptions<'r>,
    kind: Option<Kind>,
    identifier: Identifier,
    lines: HashMap<u64, u64>,
}

impl Rows<'_> {
    /// The row as it is to be written, or why it is not.
    fn row<'a>(&mut self, line: u64, bytes: &'a [u8]) -> Result<Written<'a>, String> {
        let message = |bad: &BadRow| bad.findings()[0].message.clone();
        let text = text_of(line, bytes).map_err(|finding| finding.message)?;
        let json = json::parse(line, text).map_err(|found| message(&BadRow::new(found)))?;
        let mut row = Row::from_json(line, &json).map_err(|bad| message(&bad))?;
        let mut kind = Kind::of(&row);
        kind.is_weighted |= self.options.gives_weights;
        if let Some(finding) = self.kind.and_then(|most| most.mismatch(kind, line)) {
            return Err(finding.message);
        }
        if let Some(Err(finding)) = self.options.renderer.map(|renderer| renderer.render(&row, usize::MAX)) {
            return Err(finding.message);
        }
        self.kind = Some(kind);
        let (identity, _) = self.identifier.identify(&row);
        if let Some(first) = self.lines.get(&identity.exact) {
            return Err(format!("the row is the same as line {first}"));
        }
        self.lines.insert(identity.exact, line);
        let mut changes: Vec<String> =
            row.spellings.iter().map(|spelling| format!("rewritten: {}", spelling.message())).collect();
        if let RowContent::Chat(conversation) = &mut row.content {
            let messages = &mut conversation.messages;
            let has_answer = messages.last().is_some_and(|message| message.role == Role::Assistant);
            if let Some(last) = messages.iter().rposition(Message::is_trained)
                && !has_answer
            {
                let count = messages.len() - last - 1;
                messages.truncate(last + 1);
                changes.push(format!("left out what follows the last learnt answer, {count} messages"));
            }
        }
        let gives_weight = self.options.gives_weights && row.weight.is_none();
        if gives_weight {
            row.weight = Some(1.0);
        }
        let object = text.trim_ascii_end().strip_suffix('}');
        let text = match (changes.is_empty(), object) {
            (true, _) if !gives_weight => Cow::Borrowed(text),
            // A row is never empty; what it holds stays as it is written.
            (true, Some(object)) if json.get("weight").is_none() => {
                Cow::Owned(format!("{}, \"weight\": 1}}", object.trim_ascii_end()))
            }
            _ => {
                let text = rewritten(&row, &json).to_string();
                // What stood in a text has more levels now.
                json::parse(line, &text).map_err(|_| "it would be nested too deeply when it is rewritten")?;
                Cow::Owned(text)
            }
        };
        changes.extend(gives_weight.then(|| "got the weight 1".to_owned()));
        Ok(Written { text, changes })
    }
}

/// The row in this project's form, with the members that have no effect.
fn rewritten(row: &Row, json: &Json<'_>) -> Value {
    let mut out = Map::new();
    let Json::Object(members) = json else { return Value::Null };
    for (key, value) in members {
        match (&**key, &row.content) {
            // It is the first message now.
            ("system", RowContent::Chat(_)) => {}
            ("messages" | "conversations", RowContent::Chat(conversation)) => {
                out.insert("messages".into(), conversation.messages.iter().map(message).collect());
            }
            ("tools" | "functions", RowContent::Chat(conversation)) => {
                if !conversation.tools.is_empty() {
                    out.insert("tools".into(), conversation.tools.clone().into());
                }
            }
            _ => {
                out.insert(key.to_string(), value.to_value());
            }
        }
    }
    if row.weight == Some(1.0) && out.get("weight").is_none_or(Value::is_null) {
        out.insert("weight".into(), 1.into());
    }
    out.into()
}

fn message(message: &Message) -> Value {
    let mut out = Map::new();
    out.insert("role".into(), message.role.as_str().into());
    out.insert("content".into(), message.content.as_str().into());
    if let Some(reasoning) = &message.reasoning_content {
        out.insert("reasoning_content".into(), reasoning.as_str().into());
    }
    if !message.tool_calls.is_empty() {
        let call = |call: &crate::row::ToolCall| {
            let arguments = Value::from(call.arguments.clone()).to_string();
            let function = json!({"name": call.name, "arguments": arguments});
            match call.id.is_empty() {
                true => json!({"type": "function", "function": function}),
                false => json!({"id": call.id, "type": "function", "function": function}),
            }
        };
        out.insert("tool_calls".into(), message.tool_calls.iter().map(call).collect());
    }
    if let Some(id) = &message.tool_call_id {
        out.insert("tool_call_id".into(), id.as_str().into());
    }
    if let Some(name) = &message.name {
        out.insert("name".into(), name.as_str().into());
    }
    if message.role == Role::Assistant && !message.trained {
        out.insert("weight".into(), 0.into());
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::check::{Input, Options, check};
    use crate::finding::Code;

    fn run(text: &str) -> (String, Vec<String>) {
        let mut out = Vec::new();
        let fixed = fix(Box::new(Cursor::new(text.to_owned().into_bytes())), &mut out, FixOptions::default())
            .expect("memory");
        let changes = fixed.changes.into_iter().map(|change| format!("{}: {}", change.line, change.message));
        (String::from_utf8(out).expect("text"), changes.collect())
    }

    #[test]
    fn what_needs_no_guessing_is_put_right() {
        let good = |text: &str| {
            format!(
                r#"{{"messages": [{{"role": "user", "content": "{text}"}}, {{"role": "assistant", "content": "a"}}]}}"#
            )
        };
        let (a, b) = (good("a"), good("b"));
        let share = r#"{"id": 7, "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}, {"from": "human", "value": "more"}]}"#;
        let text = format!("\u{feff}{a}\r\n\n{b}\r\n{{\"x\": 1}}\n{a}\n{share}\n");
        let (out, changes) = run(&text);
        let rewritten =
            r#"{"id":7,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#;
        assert_eq!(out, format!("{a}\n{b}\n{rewritten}\n"));
        let expect = [
            "4: left out: a row needs the field messages, the fields prompt and completion, or the field text",
            "5: left out: the row is the same as line 1",
            "6: rewritten: read as ShareGPT: conversations as messages, from as role (human is user, gpt is assistant), value as content",
            "6: left out what follows the last learnt answer, 1 messages",
            "0: 1 byte order marks were left out",
            "0: 2 line breaks of another system were replaced",
            "0: 1 blank lines were left out",
        ];
        assert_eq!(changes, expect);
        assert_eq!(run(&out), (out, Vec::new()));
    }

    #[test]
    fn a_row_that_cannot_be_read_when_it_is_rewritten_is_left_out() {
        let deep = format!("{}{}", "[".repeat(123), "]".repeat(123));
        let tools = Value::from(format!(r#"[{{"name": "f", "parameters": {{"x": {deep}}}}}]"#));
        let row = format!(r#"{{"tools": {tools}, "messages": [{{"role": "assistant", "content": "a"}}]}}"#);
        assert!(Row::from_text(1, &row).is_ok());
        let (out, changes) = run(&row);
        assert_eq!(out, "");
        assert_eq!(changes, ["1: left out: it would be nested too deeply when it is rewritten"]);
    }

    #[test]
    fn damage_from_the_first_byte_on_is_told() {
        let input = crate::source::unpack(Cursor::new(vec![0x1f, 0x8b])).expect("memory");
        let fixed = fix(input, Vec::new(), FixOptions::default()).expect("it is the file's fault");
        let changes: Vec<_> = fixed.changes.into_iter().map(|change| change.message).collect();
        assert_eq!(
            (fixed.rows, changes),
            (0, vec!["the rest was left out: the gzip data ends too early".to_owned()])
        );
    }

    #[test]
    fn one_odd_row_does_not_cost_the_others() {
        let fixed = |rows: &[&str]| {
            let text = rows.join("\n");
            let input = || Box::new(Cursor::new(text.clone().into_bytes()));
            let found =
                check(vec![Input::new("rows", input())], vec![], &Options::default()).expect("memory");
            let mut out = Vec::new();
            let done =
                fix(input(), &mut out, FixOptions::of(&found, Limits::default(), None)).expect("memory");
            let counts: Vec<_> = found.error_counts.into_iter().collect();
            (counts, (done.rows, done.left_out), String::from_utf8(out).expect("text"))
        };
        let (a, b, c) = (
            r#"{"id": 1.50, "prompt": "a", "completion": "1"}"#,
            r#"{"prompt":  "b\u00e9", "completion": "2"}"#,
            r#"{"prompt": "c", "completion": "3"}"#,
        );
        let weighted = r#"{"weight": 2.50, "prompt": "d", "completion": "4"}"#;
        let (errors, counts, out) = fixed(&[weighted, a, b, c]);
        assert_eq!((errors, counts), (vec![(Code::MixedWeights, 1)], (4, 0)));
        let with = |row: &str| format!("{}, \"weight\": 1}}", row.trim_end_matches('}'));
        assert_eq!(out, format!("{weighted}\n{}\n{}\n{}\n", with(a), with(b), with(c)));
        let chat =
            r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#;
        let (errors, counts, out) = fixed(&[chat, a, b, c]);
        assert_eq!((errors, counts), (vec![(Code::MixedFormats, 1)], (3, 1)));
        assert_eq!(out, format!("{a}\n{b}\n{c}\n"));
    }

    #[test]
    fn rows_that_train_differently_are_not_the_same() {
        let say = |more: &str, answer: &str| {
            format!(
                r#"{{"weight": 1, "messages": [{{"role": "user", "content": "what is it"{more}}}, {{"role": "assistant", "content": "{answer}"}}]}}"#
            )
        };
        let rows = [
            say("", "a"),
            say("", "a").replace("\"weight\": 1", "\"weight\": 5"),
            say(r#", "name": "alice""#, "a"),
            say(r#", "name": "bob""#, "a"),
            say("", "\u{1f600}"),
            say("", "\u{1f622}"),
            say("", "+"),
            say("", "-"),
        ];
        let (out, changes) = run(&rows.join("\n"));
        assert_eq!((out.lines().count(), changes.len()), (rows.len(), 0), "{changes:?}");
    }

    #[test]
    fn a_rewritten_row_says_the_same() {
        for text in [
            r#"{"functions": [{"name": "f", "parameters": {}}], "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"b\": 1, \"a\": [2]}"}}, {"role": "function", "name": "f", "content": "r"}, {"role": "assistant", "reasoning": "so", "content": "a"}]}"#,
            r#"{"weight": 2, "tools": "[{\"name\": \"f\"}]", "messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "q"}]}, {"role": "assistant", "content": "no", "weight": 0}, {"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": "y"}}}]}]}"#,
            r#"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"}, {"from": "observation", "value": "r"}, {"from": "gpt", "value": "a"}]}"#,
        ] {
            let before = Row::from_text(1, text).expect("a good row");
            assert!(!before.spellings.is_empty());
            let (out, _) = run(text);
            let after = Row::from_text(1, out.trim_end()).expect("a good row");
            assert_eq!((after.content, after.weight), (before.content, before.weight));
            assert_eq!(after.spellings, []);
        }
    }
}
