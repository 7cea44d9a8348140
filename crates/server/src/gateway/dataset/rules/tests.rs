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
         a.jsonl:3: /messages/2: the row does not end with an answer; what follows the last learnt one is not used; add \
         the answer, or remove what follows the last one\n\
         a.jsonl:4: invalid JSON at column 1: the line ends too early; write the whole JSON object on one line",
    );
    let no_chats = "dataset: the rows have no messages, which CHAT rows have; check them with another format";
    check(Rules::Chat, &[&lines(&[COMPLETION; 3])], no_chats);
    check(Rules::Training, &[&lines(&[COMPLETION; 3])], "");
    check(Rules::Training, &[&lines(&[ANSWERED, OPEN, ANSWERED])], "");
}

/// Files with these contents, as a dataset has them.
fn written(contents: &[&[u8]]) -> (tempfile::TempDir, Vec<(String, PathBuf)>) {
    let dir = tempfile::tempdir().unwrap();
    let one = |(index, content): (usize, &&[u8])| {
        let name = format!("{}.jsonl", char::from(b'a' + index as u8));
        std::fs::write(dir.path().join(&name), content).unwrap();
        (name.clone(), dir.path().join(name))
    };
    let files = contents.iter().enumerate().map(one).collect();
    (dir, files)
}

fn dataset() -> hearth_domain::DatasetRef {
    hearth_domain::DatasetRef {
        account: hearth_domain::AccountId::new("default").unwrap(),
        id: hearth_domain::DatasetId::new("rows").unwrap(),
    }
}

#[test]
fn a_report_agrees_with_what_comes_of_the_check() {
    for (rows, code) in
        [([ANSWERED, OPEN, ANSWERED], "ends_without_answer"), ([COMPLETION; 3], "mixed_formats")]
    {
        let (_dir, files) = written(&[lines(&rows).as_bytes()]);
        let findings = read_all(&files, Rules::Chat, &Arc::default()).unwrap();
        assert!(!findings.is_ok());
        let report = findings.report(&dataset(), &files, 1).unwrap();
        let codes: Vec<&str> = report.errors.iter().map(|error| error.code.as_str()).collect();
        assert_eq!((codes.as_slice(), report.error_count), ([code].as_slice(), 1));
        assert_eq!(report.statistics["error_counts"][code], 1);
        let others = report.warnings.iter().filter(|warning| warning.code == code);
        assert_eq!((others.count(), report.note.as_str()), (0, ""));
        assert_eq!(report.warning_count, report.warnings.len() as u64);
    }
}

#[test]
fn the_reports_of_one_check_have_their_share_of_the_lists() {
    let (_dir, files) = written(&["1\n".repeat(5_000).as_bytes()]);
    let findings = read_all(&files, Rules::Training, &Arc::default()).unwrap();
    for (datasets, listed) in [(1, 1_000), (20, 50)] {
        let report = findings.report(&dataset(), &files, datasets).unwrap();
        assert_eq!((report.errors.len(), report.error_count), (listed, 5_000));
        let note = format!(
            "{} errors and 0 warnings are not listed; `hearth dataset check` on the files lists more",
            5_000 - listed
        );
        assert_eq!(report.note, note);
    }
}

#[test]
fn packed_files_of_a_dataset_may_hold_so_much_together() {
    let text = lines(&[ANSWERED; 3]);
    let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    let (_dir, files) = written(&[&packed, &packed, text.as_bytes()]);
    let count = |left: usize| -> Result<usize, ServerError> {
        let guard = Guard { stop: Arc::default(), left: Arc::new(AtomicU64::new(left as u64)) };
        let mut count = 0;
        for (name, path) in &files {
            let mut rows = guard.lines(name, path)?;
            while rows.next().map_err(|error| guard.error(name, error))?.is_some() {
                count += 1;
            }
        }
        Ok(count)
    };
    // What is not packed does not count.
    assert_eq!(count(2 * text.len() + 1).unwrap(), 9);
    let refused = count(2 * text.len() - 1).unwrap_err();
    assert_eq!(refused.code(), hearth_domain::Code::InvalidArgument);
    assert!(refused.to_string().contains("its packed files hold more than 5 GiB; divide it"), "{refused}");
}

#[test]
fn rows_beyond_the_limit_are_not_read_and_garbage_is_given_up() {
    let limited = |contents: &[&[u8]], limit: u64| {
        let (_dir, files) = written(contents);
        let mut findings = Findings::default();
        request_rows::read(&files, false, limit, &Arc::default(), &mut findings).unwrap();
        (findings.rows, findings.text())
    };
    let good: Vec<String> = (0..5).map(|i| request(&i.to_string(), QUESTION)).collect();
    let text = good.join("\n");
    assert_eq!(limited(&[text.as_bytes()], 5), (5, String::new()));
    // The rest is not even looked at.
    let more = format!("{text}\ngarbage");
    let expect = (5, "dataset: has more than 5 rows; divide it".to_owned());
    assert_eq!(limited(&[more.as_bytes(), b"garbage"], 5), expect);
    let garbage = "x\n".repeat(30_000);
    let (rows, text) = limited(&[garbage.as_bytes(), garbage.as_bytes()], 1_000_000);
    assert_eq!(rows, 10_000);
    assert!(text.ends_with("and 9991 more errors"), "{text}");
    // An id counts for a row that is one.
    let wrong = r#"{"custom_id": "1", "body": {"messages": []}}"#;
    let (_, text) = limited(&[format!("{wrong}\n{}", request("1", QUESTION)).as_bytes()], 5);
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn what_is_trained_on_may_have_keys_of_requests() {
    let is_request =
        |row: &str| request_rows::is_request(&Line { bytes: row.as_bytes(), number: 1, is_too_long: false });
    for row in [
        r#"{"body": "a note", "messages": []}"#,
        r#"{"body": {}, "prompt": "p", "completion": "c"}"#,
        r#"{"custom_id": "1", "text": "t"}"#,
        r#"{"body": "b"}"#,
        r#"{"body": {}, "conversations": []}"#,
        "[]",
        "{",
    ] {
        assert!(!is_request(row), "{row}");
    }
    for row in [
        request("1", QUESTION).as_str(),
        r#"{"custom_id": 1}"#,
        r#"{"body": {"messages": []}}"#,
        r#"{"custom_id": "1", "body": {}, "text": "t"}"#,
    ] {
        assert!(is_request(row), "{row}");
    }
    let noted = ANSWERED.replacen('{', r#"{"body": "a note", "#, 1);
    check(Rules::Upload, &[&lines(&[noted.as_str(); 3])], "");
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
    let text = found(Rules::ChatRelaxed, &[&"1\n".repeat(25)]);
    assert_eq!(text.lines().count(), 11, "{text}");
    assert!(text.ends_with("and 15 more errors"), "{text}");
    let text = found(Rules::Chat, &[&"1\n".repeat(250)]);
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
