//! A good file of 10,000 rows, broken at 300 places in as many ways as are known: all are found and nothing else is.

use std::collections::BTreeSet;

use hearth_data::Code;
use hearth_data::check::Report;
use serde_json::{Value, json};

use crate::report_of;
use crate::words::{Numbers, chat};

const ROWS: usize = 10_000;
const PLACES: usize = 300;
/// Rows from one place to the next: the one before each is good.
const STEP: usize = 33;

/// Makes a broken line of a good row and the row before it.
type Break = fn(&Value, &Value) -> Vec<u8>;

fn text(row: &Value) -> Vec<u8> {
    row.to_string().into_bytes()
}

fn with(row: &Value, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut row = row.clone();
    change(&mut row);
    text(&row)
}

fn messages(row: &mut Value) -> &mut Vec<Value> {
    row["messages"].as_array_mut().expect("a list")
}

/// The first message that asks.
fn question(row: &mut Value) -> &mut Value {
    let found = messages(row).iter_mut().find(|message| message["role"] == "user");
    found.expect("a question")
}

fn answer(row: &mut Value) -> &mut Value {
    messages(row).last_mut().expect("an answer")
}

fn say(row: &mut Value, what: &str) {
    let content = answer(row)["content"].as_str().expect("text").to_owned();
    answer(row)["content"] = format!("{content} {what}").into();
}

fn call(name: &str, arguments: Value) -> Value {
    json!({"role": "assistant", "content": "", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}]})
}

fn with_call(row: &Value, tool: Value, call: Value, id: &str) -> Vec<u8> {
    with(row, |row| {
        row["tools"] = json!([tool]);
        let list = messages(row);
        let last = list.pop().expect("an answer");
        list.extend([call, json!({"role": "tool", "tool_call_id": id, "content": "r"}), last]);
    })
}

fn tool() -> Value {
    json!({"type": "function", "function": {"name": "f", "parameters": {}}})
}

const BREAKS: &[(Code, Break)] = &[
    // What is no JSON.
    (Code::InvalidJson, |row, _| text(row)[..40].to_vec()),
    (Code::InvalidJson, |row, _| row.to_string().replace("\"role\"", "'role'").into_bytes()),
    (Code::InvalidJson, |row, _| row.to_string().replace("}]}", "},]}").into_bytes()),
    (Code::InvalidJson, |row, _| [text(row), text(row)].concat()),
    (Code::InvalidJson, |row, _| row.to_string().replacen("Tell", "\tTell", 1).into_bytes()),
    (Code::InvalidJson, |row, _| row.to_string().replacen("Tell", "\\ud83d Tell", 1).into_bytes()),
    (Code::InvalidJson, |row, _| row.to_string().replacen("Tell", "\\x41", 1).into_bytes()),
    (Code::InvalidJson, |row, _| {
        row.to_string().replacen("{\"id\":", "{\"score\":NaN,\"id\":", 1).into_bytes()
    }),
    (Code::InvalidUtf8, |row, _| {
        let bytes = text(row);
        let at = bytes.windows(4).position(|four| four == b"Tell").expect("a question");
        [&bytes[..at], b"\xe9", &bytes[at..]].concat()
    }),
    (Code::NestedTooDeeply, |row, _| {
        let deep = format!("{{\"x\":{}{},\"id\":", "[".repeat(100_000), "]".repeat(100_000));
        row.to_string().replacen("{\"id\":", &deep, 1).into_bytes()
    }),
    (Code::DuplicateKey, |row, _| row.to_string().replacen("{\"id\":", "{\"id\":1,\"id\":", 1).into_bytes()),
    (Code::NumberOutOfRange, |row, _| {
        row.to_string().replacen("{\"id\":", "{\"n\":123456789012345678901234,\"id\":", 1).into_bytes()
    }),
    // What is no row.
    (Code::WrongType, |_, _| b"[1, 2]".to_vec()),
    (Code::WrongType, |row, _| with(row, |row| row["messages"] = "hello".into())),
    (Code::WrongType, |row, _| with(row, |row| question(row)["content"] = 5.into())),
    (Code::MissingField, |_, _| b"{\"instruction\": \"a\", \"output\": \"b\"}".to_vec()),
    (Code::MissingField, |row, _| {
        with(row, |row| {
            question(row).as_object_mut().expect("an object").remove("content");
        })
    }),
    (Code::EmptyList, |row, _| with(row, |row| row["messages"] = json!([]))),
    (Code::TooManyMessages, |row, _| {
        with(row, |row| {
            let last = messages(row).last().expect("an answer").clone();
            messages(row).resize(2001, last);
        })
    }),
    (Code::UnknownRole, |row, _| with(row, |row| question(row)["role"] = "humna".into())),
    (Code::MisplacedSystem, |row, _| {
        with(row, |row| messages(row).push(json!({"role": "system", "content": "late"})))
    }),
    (Code::MisplacedTool, |row, _| {
        with(row, |row| messages(row).insert(1, json!({"role": "tool", "content": "result"})))
    }),
    (Code::UnknownToolCall, |row, _| with_call(row, tool(), call("f", "{}".into()), "c2")),
    (Code::BadTool, |row, _| with(row, |row| row["tools"] = json!([{"type": "function", "function": {}}]))),
    (Code::BadToolCall, |row, _| with_call(row, tool(), call("", "{}".into()), "c1")),
    (Code::BadArguments, |row, _| with_call(row, tool(), call("f", "{\"a\": ".into()), "c1")),
    (Code::BadWeight, |row, _| with(row, |row| answer(row)["weight"] = 0.5.into())),
    (Code::UnsupportedContent, |row, _| {
        with(row, |row| question(row)["content"] = json!([{"type": "image_url", "image_url": {"url": "u"}}]))
    }),
    (Code::UnsupportedField, |row, _| with(row, |row| row["tool_choice"] = "auto".into())),
    (Code::NothingToTrain, |row, _| {
        with(row, |row| messages(row).retain(|message| message["role"] != "assistant"))
    }),
    (Code::ConflictingFields, |row, _| with(row, |row| row["prompt"] = "p".into())),
    // What does not go with the others.
    (Code::MixedFormats, |_, _| b"{\"prompt\": \"p\", \"completion\": \"c\"}".to_vec()),
    (Code::MixedWeights, |row, _| with(row, |row| row["weight"] = 2.into())),
    // What is allowed and remarkable.
    (Code::EndsWithoutAnswer, |row, _| {
        with(row, |row| messages(row).push(json!({"role": "user", "content": "And then?"})))
    }),
    (Code::EmptyAnswer, |row, _| with(row, |row| answer(row)["content"] = " \n".into())),
    (Code::EmptyMessage, |row, _| with(row, |row| question(row)["content"] = "".into())),
    (Code::UndefinedTool, |row, _| with_call(row, tool(), call("g", "{}".into()), "c1")),
    (Code::DuplicateRow, |_, before| with(before, |row| row["id"] = "another".into())),
    (Code::NearDuplicateRow, |_, before| {
        with(before, |row| {
            let content = question(row)["content"].as_str().expect("text").to_uppercase();
            question(row)["content"] = format!("{content} —!!").into();
        })
    }),
    (Code::ConflictingAnswers, |_, before| {
        with(before, |row| answer(row)["content"] = "I do not know.".into())
    }),
    (Code::Secret, |row, _| with(row, |row| say(row, &format!("{}Q7RTZ2MNP4KXW8VB", "AKIA")))),
    (Code::Secret, |row, _| with(row, |row| say(row, "mysql://app:hunter2x9@db.internal/main"))),
    (Code::Secret, |row, _| with(row, |row| say(row, &format!("-----BEGIN {}-----", "PRIVATE KEY")))),
    (Code::ReplacementCharacter, |row, _| with(row, |row| say(row, "caf\u{fffd}"))),
    (Code::WrongEncoding, |row, _| with(row, |row| say(row, "the cafÃ© isnâ€™t open"))),
    (Code::ControlCharacter, |row, _| with(row, |row| say(row, "a\u{0}b"))),
    (Code::RareScript, |_, before| {
        let number = before["id"].as_str().expect("an id").trim_start_matches("row-");
        let words: String = number
            .bytes()
            .map(|digit| {
                ["ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять"]
                    [usize::from(digit - b'0')]
            })
            .collect();
        text(&json!({"messages": [{"role": "user", "content": format!("Расскажи про {words}")},
            {"role": "assistant", "content": format!("Вот что известно про {words}.")}]}))
    }),
];

fn found(report: &Report) -> BTreeSet<(u64, Code)> {
    report.errors.iter().chain(&report.warnings).map(|finding| (finding.line, finding.code)).collect()
}

#[test]
fn all_that_is_broken_is_found_and_nothing_else() {
    assert!(BREAKS.len() >= 30 && STEP * PLACES < ROWS);
    let rows: Vec<Value> = {
        let mut numbers = Numbers(6);
        (0..ROWS).map(|index| chat(index, &mut numbers)).collect()
    };
    let mut bytes: Vec<Vec<u8>> = rows.iter().map(text).collect();
    let mut expect = BTreeSet::new();
    for place in 0..PLACES {
        let (code, make) = BREAKS[place % BREAKS.len()];
        let at = (place + 1) * STEP;
        bytes[at] = make(&rows[at], &rows[at - 1]);
        expect.insert((at as u64 + 1, code));
    }
    assert_eq!(expect.len(), PLACES);
    let bytes = bytes.join(&b'\n');
    let report = report_of(bytes.clone(), 2);
    let found = found(&report);
    let missed: Vec<_> = expect.difference(&found).collect();
    let too_much: Vec<_> = found.difference(&expect).collect();
    assert!(missed.is_empty() && too_much.is_empty(), "missed {missed:?}, too much {too_much:?}");
    assert_eq!(report.rows, ROWS as u64);
    for finding in report.errors.iter().chain(&report.warnings) {
        assert!(!finding.fix.is_empty() && !finding.message.is_empty());
    }
    // The same on any number of threads, with the same words.
    for threads in [1, 7] {
        assert_eq!(report_of(bytes.clone(), threads), report, "{threads} threads");
    }
}

#[test]
fn findings_quote_nothing_of_a_row() {
    const MARK: &str = "zebrafish";
    for (index, (code, make)) in BREAKS.iter().enumerate() {
        let marked = |row: &Value| -> Value {
            let text = row.to_string().replace("Tell me of", &format!("Tell me of {MARK}"));
            serde_json::from_str(&text).expect("JSON")
        };
        let mut numbers = Numbers(7);
        let rows: Vec<Value> = (0..4).map(|index| marked(&chat(index, &mut numbers))).collect();
        let mut bytes: Vec<Vec<u8>> = rows.iter().map(text).collect();
        bytes[3] = make(&rows[3], &rows[2]);
        let report = report_of(bytes.join(&b'\n'), 1);
        for finding in report.errors.iter().chain(&report.warnings) {
            assert!(!finding.to_string().contains(MARK), "{index} {code}: {finding}");
        }
    }
}
