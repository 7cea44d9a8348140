//! Rows that cannot be trained on are named by line; rows that are too long are dropped and counted.

use hearth_run::{Dropped, EventKind, FailureKind, JobSpec};

use crate::fixture::{Fixture, row};

#[test]
fn bad_rows_are_listed_by_line_all_in_one_message() {
    let fixture = Fixture::new();
    let untrained =
        r#"{"messages":[{"role":"user","content":"secret"},{"role":"assistant","content":"b","weight":0}]}"#;
    let rows = [row(0), "{\"messages\":".to_owned(), row(1), untrained.to_owned(), row(2)];
    fixture.write_rows("train.jsonl", &rows);
    let ended = fixture.run("run", &fixture.job());
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::InvalidData);
    assert!(message.starts_with("2 training rows cannot be used: line 2: "), "{message}");
    assert!(message.contains("; line 4"), "{message}");
    assert!(!message.contains("secret"), "{message}");
    assert!(!ended.dir.output_path().exists());
}

#[test]
fn only_the_first_bad_rows_are_listed() {
    let fixture = Fixture::new();
    fixture.write_rows("train.jsonl", &vec!["{}".to_owned(); 25]);
    let ended = fixture.run("run", &fixture.job());
    let (_, message) = ended.failure();
    assert!(message.starts_with("25 training rows cannot be used: line 1: "), "{message}");
    assert!(message.contains("; line 20: ") && !message.contains("line 21"), "{message}");
    assert!(message.ends_with("; and 5 more"), "{message}");
}

#[test]
fn rows_that_are_too_long_are_dropped_and_their_lines_told() {
    let fixture = Fixture::new();
    let mut rows: Vec<String> = (0..9).map(row).collect();
    rows[4] = row(4).replace("leaf", &"leaf ".repeat(100));
    fixture.write_rows("train.jsonl", &rows);
    let job = JobSpec { max_context_length: 200, epochs: 1, ..fixture.job() };
    let ended = fixture.run("run", &job);
    ended.output();
    let validated = ended.events.iter().find_map(|event| match &event.kind {
        EventKind::Validated { rows, samples, dropped_too_long, dropped_lines, total_steps, .. } => {
            Some((*rows, *samples, *dropped_too_long, dropped_lines.clone(), *total_steps))
        }
        _ => None,
    });
    assert_eq!(validated, Some((9, 8, 1, vec![5], 4)));

    let none = fixture.run("none", &JobSpec { max_context_length: 4, ..job });
    let (kind, message) = none.failure();
    assert_eq!(kind, FailureKind::InvalidData);
    assert!(
        message.contains("all 9 training rows are longer than max_context_length, 4 tokens"),
        "{message}"
    );
}

#[test]
fn evaluation_rows_are_checked_and_dropped_too() {
    let fixture = Fixture::new();
    let long = row(4).replace("leaf", &"leaf ".repeat(100));
    fixture.write_rows("eval.jsonl", &[row(0), long, row(1)]);
    let job = JobSpec { max_context_length: 200, epochs: 1, ..fixture.job() };
    let ended = fixture.run("dropped", &job);
    ended.output();
    let dropped = ended.events.iter().find_map(|event| match &event.kind {
        EventKind::Validated { eval_dropped, .. } => Some(eval_dropped.clone()),
        _ => None,
    });
    assert_eq!(dropped, Some(Dropped { count: 1, lines: vec![2], files: vec![] }));

    fixture.write_rows("eval.jsonl", &[row(0), "{}".to_owned()]);
    let ended = fixture.run("bad", &job);
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::InvalidData);
    assert!(message.starts_with("1 evaluation row cannot be used: line 2: "), "{message}");
}

#[test]
fn a_row_longer_than_the_base_model_takes_is_a_wrong_setting() {
    let fixture = Fixture::new();
    let long = row(4).replace("leaf", &"leaf ".repeat(400));
    fixture.write_rows("train.jsonl", &[row(0), row(1), long]);
    let ended = fixture.run("run", &JobSpec { max_context_length: 100_000, ..fixture.job() });
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::InvalidSetting);
    assert!(message.contains("set max_context_length to 512 or less"), "{message}");
}

#[test]
fn a_token_that_the_base_model_lacks_is_found_before_the_first_step() {
    let fixture = Fixture::new();
    let path = fixture.path("model/tokenizer.json");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    tokenizer["model"]["vocab"]["\u{120}zzz"] = 9999.into();
    tokenizer["added_tokens"].as_array_mut().unwrap().push(serde_json::json!({
        "id": 9999, "content": "\u{120}zzz", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false,
    }));
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    fixture.write_rows("eval.jsonl", &[row(0), row(1).replace("leaf", "\u{120}zzz")]);
    let ended = fixture.run("run", &fixture.job());
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::InvalidSetting);
    assert!(message.contains("line 2 of the evaluation rows has the token id 9999"), "{message}");
    assert!(!ended.events.iter().any(|event| matches!(event.kind, EventKind::Step { .. })));
}

#[test]
fn files_of_the_base_model_that_are_wrong_are_found_before_the_first_step() {
    let fixture = Fixture::new();
    // Read by whoever follows the events, so an error may not repeat all of a value.
    let config = std::fs::read_to_string(fixture.path("model/config.json")).unwrap();
    std::fs::write(fixture.path("model/config.json"), config.replace("silu", &"x".repeat(2 << 20))).unwrap();
    let ended = fixture.run("config", &fixture.job());
    let (_, message) = ended.failure();
    assert!(message.contains("hidden_act") && message.len() < 100_000, "{} bytes", message.len());
    std::fs::write(fixture.path("model/config.json"), config).unwrap();

    std::fs::write(fixture.path("model/tokenizer_config.json"), "[]").unwrap();
    let ended = fixture.run("tokenizer", &fixture.job());
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::InvalidSetting);
    assert!(message.ends_with("tokenizer: tokenizer_config.json is not a JSON object"), "{message}");
}
