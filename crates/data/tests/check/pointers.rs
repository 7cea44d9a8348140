//! Whatever is wrong with a row, pointers of findings stand for something in it, and what is corrected is good.

use hearth_data::check::FixOptions;
use hearth_data::{Code, Limits};
use serde_json::{Value, json};

use crate::report_of;
use crate::words::Numbers;

/// Rows of a file: few enough that it is read to its end.
const ROWS: usize = 400;
const FILES: u64 = 12;
/// Keys that findings must not show.
const KEYS: &[&str] = &["\u{1b}[31mRED", "jo@example.org", "a/b~c", "", "Which way did she go?"];
const HIDDEN: &str = "(key)";

fn rows() -> Vec<Value> {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}});
    let text = "{\"name\": \"f\", \"arguments\": {\"x\": 1}}";
    vec![
        json!({"tools": [tool], "weight": 1, "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "r"}]},
            {"role": "assistant", "content": null, "tool_calls": [call, call]},
            {"role": "tool", "tool_call_id": "c", "name": "f", "content": "1"},
            {"role": "assistant", "content": "a", "reasoning_content": "t", "weight": 1},
            {"role": "user", "content": "more"}]}),
        json!({"tools": json!([tool]).to_string(), "system": "s", "conversations": [
            {"from": "human", "value": "q"},
            {"from": "function_call", "value": text},
            {"from": "observation", "value": "1"},
            {"from": "function_call", "value": [json!({"name": "g"}), json!({"name": "f"})]},
            {"from": "observation", "value": "1"},
            {"from": "gpt", "value": "a", "weight": 0}]}),
        json!({"functions": [{"name": "f", "parameters": {}}], "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": null, "function_call": {"name": "g", "arguments": "{}"}},
            {"role": "function", "name": "g", "content": "AKIAQ7RTZ2MNP4KXW8VB"},
            {"role": "assistant", "content": "\u{fffd}"}]}),
        json!({"prompt": "p", "completion": "c"}),
        json!({"text": "t"}),
    ]
}

fn anything(numbers: &mut Numbers) -> Value {
    let values = [
        Value::Null,
        json!(true),
        json!(2),
        json!(1e30),
        json!(""),
        json!("{"),
        json!("system"),
        json!("function_call"),
        json!("{\"name\": 1, \"name\": 2}"),
        json!("[{\"name\": \"\"}, 3]"),
        json!([]),
        json!([1]),
        json!([{}]),
        json!({}),
        json!({"name": "f", "type": "text"}),
    ];
    values[numbers.below(values.len())].clone()
}

/// Changes something somewhere in a value.
fn mutate(value: &mut Value, numbers: &mut Numbers) {
    let len = match value {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        _ => 0,
    };
    if len > 0 && numbers.below(5) > 0 {
        let at = numbers.below(len);
        let inner = match value {
            Value::Array(items) => items.get_mut(at),
            Value::Object(members) => members.values_mut().nth(at),
            _ => None,
        };
        return mutate(inner.expect("it has so many"), numbers);
    }
    match (value, numbers.below(4)) {
        (Value::Array(items), 0) if len > 0 => items.truncate(len - 1),
        (Value::Array(items), 1) if len > 0 => items.push(items[numbers.below(len)].clone()),
        (Value::Array(items), 2) => items.insert(0, anything(numbers)),
        (Value::Object(members), 0) if len > 0 => {
            let key = members.keys().nth(numbers.below(len)).expect("it has so many").clone();
            members.remove(&key);
        }
        (Value::Object(members), 1) if len > 0 => {
            let key = members.keys().nth(numbers.below(len)).expect("it has so many").clone();
            let moved = members.remove(&key).expect("it is there");
            members.insert(KEYS[numbers.below(KEYS.len())].to_owned(), moved);
        }
        (Value::Object(members), 2) => {
            const NAMES: &[&str] = &[
                "train",
                "images",
                "system",
                "prompt",
                "text",
                "tool_calls",
                "function_call",
                "reasoning",
                "from",
            ];
            members.insert(NAMES[numbers.below(NAMES.len())].to_owned(), anything(numbers));
        }
        (value, _) => *value = anything(numbers),
    }
}

/// Whether a pointer stands for a value, any of those whose keys are hidden.
fn resolves(value: &Value, pointer: &str) -> bool {
    let Some(rest) = pointer.strip_prefix('/') else { return pointer.is_empty() };
    let (step, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match value {
        Value::Array(items) => {
            step.parse().ok().and_then(|at: usize| items.get(at)).is_some_and(|item| resolves(item, rest))
        }
        Value::Object(members) if step == HIDDEN => {
            members.iter().any(|(key, member)| KEYS.contains(&key.as_str()) && resolves(member, rest))
        }
        Value::Object(members) => members.get(step).is_some_and(|member| resolves(member, rest)),
        _ => false,
    }
}

/// Rows of one kind, since those of others are refused as a whole, all but the first changed somewhere.
fn made(seed: u64) -> Vec<Value> {
    let mut numbers = Numbers(100 + seed);
    let kinds = rows();
    let kind = &kinds[seed as usize % kinds.len()];
    let mut made = vec![kind.clone()];
    made.extend((1..ROWS).map(|_| {
        let mut row = kind.clone();
        (0..1 + numbers.below(2)).for_each(|_| mutate(&mut row, &mut numbers));
        row
    }));
    made
}

fn text_of(rows: &[Value]) -> String {
    rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_corrected_is_good() {
    for seed in 0..FILES {
        let mut fixed = Vec::new();
        let text = text_of(&made(seed));
        let options = FixOptions::of(&report_of(text.clone(), 1), Limits::default(), None);
        let text = std::io::Cursor::new(text.into_bytes());
        let done = hearth_data::check::fix(Box::new(text), &mut fixed, options).expect("memory");
        let report = report_of(fixed, 1);
        assert_eq!((report.rows, report.error_count), (done.rows, 0), "{:?}", report.errors);
        assert!(done.rows >= 3 && done.left_out > 0);
    }
}

#[test]
fn every_pointer_stands_for_something_in_the_row() {
    let mut codes = std::collections::BTreeSet::new();
    for seed in 0..FILES {
        let made = made(seed);
        let report = report_of(text_of(&made), 1);
        assert_eq!(report.rows, ROWS as u64);
        for finding in report.errors.iter().chain(&report.warnings).filter(|finding| finding.line > 0) {
            let row = &made[finding.line as usize - 1];
            assert!(resolves(row, &finding.pointer), "{finding}\n{row}");
            assert!(finding.to_string().chars().all(|c| !c.is_control() && c != '@'), "{finding:?}");
            codes.insert(finding.code);
        }
    }
    for code in [
        Code::MissingField,
        Code::WrongType,
        Code::BadToolCall,
        Code::BadTool,
        Code::UndefinedTool,
        Code::UnsupportedField,
        Code::MisplacedSystem,
        Code::EmptyMessage,
        Code::EndsWithoutAnswer,
    ] {
        assert!(codes.contains(&code), "{code} was not met");
    }
}
