//! Nothing is found in files that are good.

use crate::words::{chat, instruction, lines, tools};
use crate::{outline, report_of, report_of_files};

const ROWS: usize = 10_000;

#[test]
fn good_files_of_three_kinds_give_no_finding() {
    for (name, row, seed) in [
        ("chat", chat as fn(usize, &mut crate::words::Numbers) -> serde_json::Value, 1),
        ("tools", tools, 2),
        ("instructions", instruction, 3),
    ] {
        let text = lines(ROWS, seed, row).join("\n");
        let report = report_of(text, 0);
        assert_eq!(outline(&report), format!("{ROWS} rows, 0 errors, 0 warnings"), "{name}");
        assert_eq!(report.statistics.good_rows, ROWS as u64);
    }
}

#[test]
fn shards_are_one_dataset_and_evaluation_data_is_compared_with_it() {
    let rows = lines(400, 4, chat);
    let shards = vec![rows[..200].join("\n").into_bytes(), rows[200..300].join("\n").into_bytes()];
    let good = report_of_files(shards.clone(), vec![rows[300..].join("\n").into_bytes()], 2);
    assert_eq!(outline(&good), "300 rows, 0 errors, 0 warnings");
    assert_eq!(good.evaluation_rows, Some(100));
    let mut leaking = rows[300..].to_vec();
    leaking[7] = rows[250].clone();
    leaking[9] = rows[3].to_uppercase().replace("MESSAGES", "messages").replace("ROLE\"", "role\"");
    for name in ["CONTENT", "USER", "ASSISTANT", "SYSTEM", "WEIGHT", "ID"] {
        leaking[9] = leaking[9].replace(&format!("\"{name}\""), &format!("\"{}\"", name.to_lowercase()));
    }
    leaking[9] = leaking[9].replace("\\N", "\\n").replace("\\T", "\\t");
    let report = report_of_files(shards, vec![leaking.join("\n").into_bytes()], 2);
    let fix = "leave it out of one of them: what was learnt by heart tells nothing of other rows";
    let expect = format!(
        "300 rows, 0 errors, 2 warnings\n\
         warning leakage: evaluation-0.jsonl, line 8: this row of the evaluation data is line 51 of the training data in rows-1.jsonl; {fix}\n\
         warning leakage: evaluation-0.jsonl, line 10: this row of the evaluation data is nearly line 4 of the training data in rows-0.jsonl; {fix}"
    );
    assert_eq!(outline(&report), expect);
}

#[test]
fn statistics_count_what_is_there() {
    let report = report_of(lines(1000, 5, tools).join("\n"), 3);
    let statistics = &report.statistics;
    assert_eq!(statistics.messages.user, 1000);
    assert_eq!(statistics.messages.assistant, 2000);
    assert_eq!(statistics.trained_answers, 2000);
    assert_eq!(statistics.messages.tool, statistics_of_calls(&lines(1000, 5, tools)));
    assert_eq!((statistics.rows_with.tools, statistics.rows_with.tool_calls), (1000, 1000));
    assert_eq!((statistics.messages_per_row.min, statistics.messages_per_row.max), (4, 5));
    let text = "{\"text\": \"añ🙂\"}\n{\"text\": \"bcd\", \"weight\": null}\n\n{\"text\": \"efghi\"}\n";
    let report = report_of(text, 1);
    assert_eq!((report.statistics.characters, report.statistics.trained_characters), (11, 11));
    assert_eq!(report.statistics.bytes, text.len() as u64 - 4);
}

fn statistics_of_calls(rows: &[String]) -> u64 {
    rows.iter().map(|row| row.matches("\"role\":\"tool\"").count() as u64).sum()
}
