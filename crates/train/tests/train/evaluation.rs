//! What is evaluated: rows that are set aside are never trained on.

use std::fs;

use hearth_run::{EventKind, JobSpec};

use crate::fixture::{Ended, Fixture, metrics, row};

fn validated(ended: &Ended) -> (u64, u64, u64, u64) {
    let found = ended.events.iter().find_map(|event| match event.kind {
        EventKind::Validated { rows, samples, eval_rows, eval_carved_out, .. } => {
            Some((rows, samples, eval_rows, eval_carved_out))
        }
        _ => None,
    });
    found.expect("a run tells of its rows")
}

#[test]
fn rows_that_are_set_aside_are_scored_and_never_trained_on() {
    let fixture = Fixture::new();
    let rows: Vec<String> = (0..45).map(row).collect();
    fixture.write_rows("train.jsonl", &rows);
    let job = JobSpec { epochs: 1, eval_files: vec![], eval_carveout: true, ..fixture.job() };
    let carved = fixture.run("carved", &job);
    let output = carved.output();
    assert_eq!(validated(&carved), (45, 41, 4, 4));

    // The same by hand: a run that never saw those rows but for evaluation learns the same to the last bit.
    let chosen = hearth_data::carve::carved_out(45, job.seed);
    let (trained, scored) = hearth_data::carve::take_out(rows.clone(), &chosen);
    fixture.write_rows("kept.jsonl", &trained);
    fixture.write_rows("scored.jsonl", &scored);
    let by_hand = JobSpec {
        train_files: vec![fixture.path("kept.jsonl")],
        eval_files: vec![fixture.path("scored.jsonl")],
        eval_carveout: false,
        ..job.clone()
    };
    let by_hand = fixture.run("by hand", &by_hand);
    let weights = "adapter_model.safetensors";
    assert_eq!(by_hand.output()[weights], output[weights]);
    assert_eq!(metrics(&by_hand.dir, "eval/loss"), metrics(&carved.dir, "eval/loss"));
    assert!(!metrics(&carved.dir, "eval/loss").is_empty());
    // Another seed chooses others.
    assert_ne!(chosen, hearth_data::carve::carved_out(45, job.seed + 1));
    let without = fixture.run("without", &JobSpec { eval_carveout: false, ..job });
    assert_ne!(without.output()[weights], output[weights]);
}

#[test]
fn rows_of_several_files_are_set_aside_and_named_by_their_own_file() {
    let fixture = Fixture::new();
    let long = row(4).replace("leaf", &"leaf ".repeat(100));
    fixture.write_rows("train.jsonl", &(0..11).map(row).collect::<Vec<_>>());
    fixture.write_rows("more.jsonl", &[row(11), long, row(12)]);
    let job = JobSpec {
        train_files: vec![fixture.path("train.jsonl"), fixture.path("more.jsonl")],
        eval_files: vec![],
        eval_carveout: true,
        max_context_length: 200,
        epochs: 1,
        ..fixture.job()
    };
    let ended = fixture.run("run", &job);
    ended.output();
    assert_eq!(validated(&ended), (14, 12, 1, 1));
    let dropped = ended.events.iter().find_map(|event| match &event.kind {
        EventKind::Validated { dropped_lines, dropped_files, .. } => {
            Some((dropped_lines.clone(), dropped_files.clone()))
        }
        _ => None,
    });
    assert_eq!(dropped, Some((vec![2], vec![1])));
}

#[test]
fn rows_that_are_left_out_do_not_take_the_others_with_them() {
    let fixture = Fixture::new();
    let job = JobSpec {
        epochs: 1,
        eval_files: vec![],
        eval_carveout: true,
        max_context_length: 200,
        ..fixture.job()
    };
    let rows = (0..50).map(|i| match i % 2 {
        0 => row(1),
        _ => row(1).replace("leaf", &"leaf ".repeat(100)),
    });
    fixture.write_rows("train.jsonl", &rows.collect::<Vec<_>>());
    let ended = fixture.run("run", &job);
    ended.output();
    // A tenth of the 25 that are short enough.
    assert_eq!(validated(&ended), (50, 23, 2, 2));
}

#[test]
fn a_single_row_is_trained_on_and_not_set_aside() {
    let fixture = Fixture::new();
    fixture.write_rows("train.jsonl", &[row(0)]);
    let job = JobSpec { epochs: 1, eval_files: vec![], eval_carveout: true, ..fixture.job() };
    let ended = fixture.run("run", &job);
    ended.output();
    assert_eq!(validated(&ended), (1, 1, 0, 0));
    assert!(metrics(&ended.dir, "eval/loss").is_empty());
}

/// A checkpoint belongs to the settings of its run; those that came later must not change what an older run has.
#[test]
fn settings_that_are_not_used_do_not_stand_in_a_job() {
    let fixture = Fixture::new();
    let dir = fixture.run_dir("run", &fixture.job());
    let text = fs::read_to_string(dir.job_path()).unwrap();
    assert!(!text.contains("eval_carveout"), "{text}");
    assert_eq!(dir.job().unwrap(), fixture.job());
}
