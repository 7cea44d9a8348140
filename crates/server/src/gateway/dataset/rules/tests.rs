//! Rows in, what is wrong with them out.

use super::*;

fn found(rules: Rules, files: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<(String, PathBuf)> = files
        .iter()
        .enumerate()
        .map(|(index, content)| {
            let name = format!("{}.jsonl", char::from(b'a' + index as u8));
            std::fs::write(dir.path().join(&name), content).unwrap();
            (name.clone(), dir.path().join(name))
        })
        .collect();
    read_all(&files, rules, &Arc::default()).unwrap().text()
}

#[track_caller]
fn check(rules: Rules, files: &[&str], expect: &str) {
    assert_eq!(found(rules, files), expect);
}

const QUESTION: &str = r#"{"messages": [{"role": "user", "content": "q"}]}"#;
const ANSWERED: &str =
    r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#;
const OPEN: &str = r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}]}"#;
const COMPLETION: &str = r#"{"prompt": "p", "completion": "c"}"#;

fn lines(rows: &[&str]) -> String {
    rows.join("\n")
}

#[test]
fn chat_rows_can_be_trained_on() {
    check(Rules::Chat, &[&lines(&[ANSWERED; 3])], "");
    check(Rules::Chat, &[&lines(&[ANSWERED, ""]), &lines(&[ANSWERED, ANSWERED])], "");
    check(Rules::Chat, &[ANSWERED], "dataset: the file has 1 rows; a dataset needs at least 3 rows");
    check(
        Rules::Chat,
        &[&lines(&[ANSWERED, QUESTION, OPEN, "{"])],
        "a.jsonl:2: /messages: no message is from the assistant, so there is nothing to learn; add the answer\n\
         a.jsonl:4: invalid JSON at column 1: the line ends too early; write the whole JSON object on one line\n\
         a.jsonl:3: /messages/2: the row does not end with an answer; what follows the last learnt one is not used; add \
         the answer, or remove what follows the last one",
    );
    check(Rules::Chat, &[&lines(&[COMPLETION; 3])], "dataset: rows have no messages, which CHAT rows have");
}

#[test]
fn relaxed_rows_may_wait_for_an_answer() {
    check(Rules::ChatRelaxed, &[&lines(&[ANSWERED, QUESTION])], "");
    check(
        Rules::ChatRelaxed,
        &[&lines(&[
            QUESTION,
            COMPLETION,
            "[]",
            "x",
            r#"{"messages": []}"#,
            r#"{"messages": [{"role": "robot"}]}"#,
        ])],
        "a.jsonl:2: the row has no messages, which CHAT_RELAXED rows have; check it with another format\n\
         a.jsonl:3: a row must be a JSON object, this is a list; write a JSON object\n\
         a.jsonl:4: invalid JSON at column 1: expected value; write JSON: texts in double quotes, true, false, null, and \
         finite numbers\n\
         a.jsonl:5: /messages: messages is empty; add a question and an answer\n\
         a.jsonl:6: /messages/0/role: unknown role \"robot\"; use system, user, assistant or tool\n\
         a.jsonl:6: /messages/0: a message needs the field content; add content",
    );
    check(Rules::ChatRelaxed, &["\n"], "dataset: has no rows; at least 1 is needed");
}

fn request(id: &str, row: &str) -> String {
    format!(r#"{{"custom_id": "{id}", "body": {row}}}"#)
}

#[test]
fn requests_are_told_apart_and_have_messages() {
    let good = [request("1", QUESTION), request("2", ANSWERED)].join("\n");
    let (strict, lenient) = (Rules::Requests { strict: true }, Rules::Requests { strict: false });
    check(lenient, &[&good], "");
    check(strict, &[&request("1", QUESTION)], "");
    assert!(found(strict, &[&good]).starts_with("a.jsonl:2: /body/messages"), "{}", found(strict, &[&good]));
    let again = found(lenient, &[&good, &request("2", QUESTION)]);
    assert!(again.starts_with("b.jsonl:1: /custom_id: "), "{again}");
    let bad = [
        QUESTION.to_owned(),
        r#"{"custom_id": 1, "body": {}}"#.to_owned(),
        r#"{"custom_id": "x", "body": []}"#.to_owned(),
        r#"{"custom_id": "y", "body": {}}"#.to_owned(),
        r#"{"custom_id": "z", "body": {"messages": [{"role": "robot", "content": "x"}]}}"#.to_owned(),
    ];
    let found = found(lenient, &[&bad.join("\n")]);
    let lines: Vec<&str> = found.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3", "a.jsonl:4", "a.jsonl:5"], "{found}");
}

#[test]
fn errors_beyond_the_first_are_counted() {
    let text = found(Rules::ChatRelaxed, &[&"[]\n".repeat(25)]);
    assert_eq!(text.lines().count(), 11, "{text}");
    assert!(text.ends_with("and 15 more errors"), "{text}");
    let text = found(Rules::Chat, &[&"[]\n".repeat(250)]);
    assert!(text.ends_with("and 240 more errors"), "{text}");
}

#[test]
fn reading_ends_when_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    std::fs::write(&path, lines(&[ANSWERED; 3])).unwrap();
    for rules in [Rules::Upload, Rules::Chat, Rules::ChatRelaxed, Rules::Requests { strict: false }] {
        let files = [("a.jsonl".to_owned(), path.clone())];
        assert!(read_all(&files, rules, &Arc::new(AtomicBool::new(true))).is_err(), "{rules:?}");
        std::fs::remove_file(&path).unwrap();
        let gone = read_all(&files, rules, &Arc::default()).unwrap_err();
        assert_eq!(gone.code(), hearth_domain::Code::FailedPrecondition, "{rules:?}");
        std::fs::write(&path, lines(&[ANSWERED; 3])).unwrap();
    }
}
