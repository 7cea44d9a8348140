//! Damaged files, foreign checkpoints, numbers that are not finite, and two trainers at once.

use std::fs;
use std::path::PathBuf;

use hearth_run::{EXIT_LOCKED, Event, EventKind, FailureKind, JobSpec, RunDir};
use hearth_train::{TrainOptions, run};

use crate::fixture::{Fixture, go, metrics, write_model};

/// Makes a finished run directory look as if its trainer had died before it wrote anything of the end.
fn forget_the_end(dir: &RunDir) {
    fs::remove_file(dir.events_path()).unwrap();
    fs::remove_dir_all(dir.output_path()).unwrap();
}

fn checkpoints(dir: &RunDir) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir.checkpoints_path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn flip_a_byte(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_checkpoints_fall_back_and_the_adapter_stays_the_same() {
    let fixture = Fixture::new();
    let ended = fixture.run("run", &fixture.job());
    let (dir, output) = (&ended.dir, ended.output());
    let losses = metrics(dir, "train/loss");
    // Two epochs of 24 rows, two of them in each step.
    assert_eq!(ended.samples(), (1..=24).map(|step| step * 2).collect::<Vec<_>>());
    // The newest of the two checkpoints damaged, then both: back to step 21, then to the start.
    for (damaged, from_step) in [(1, 21), (2, 0)] {
        forget_the_end(dir);
        let paths = checkpoints(dir);
        assert_eq!(paths.len(), 2);
        for path in paths.iter().rev().take(damaged) {
            flip_a_byte(&path.join("tensors.safetensors"));
        }
        let again = go(dir);
        assert_eq!(again.output(), output);
        assert_eq!(again.samples(), ended.samples()[from_step as usize..]);
        assert!(
            matches!(again.events[0].kind, EventKind::Started { resumed_from_step, .. } if resumed_from_step == from_step),
            "{:?}",
            again.events[0]
        );
        let warnings = again.events.iter().filter(|e| matches!(e.kind, EventKind::Warning { .. })).count();
        assert_eq!(warnings, damaged);
        assert_eq!(metrics(dir, "train/step"), (1..=24).map(f64::from).collect::<Vec<_>>());
        assert_eq!(metrics(dir, "train/loss"), losses);
    }
}

#[test]
fn a_damaged_event_log_is_cut_and_the_run_goes_on() {
    let fixture = Fixture::new();
    let ended = fixture.run("run", &fixture.job());
    let (dir, output) = (&ended.dir, ended.output());
    let text = fs::read_to_string(dir.events_path()).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[5] = "\0\0\0\0\0\0\0\0";
    fs::write(dir.events_path(), lines.join("\n") + "\n").unwrap();
    fs::remove_dir_all(dir.output_path()).unwrap();
    let again = go(dir);
    assert_eq!(again.output(), output);
    let warning = |event: &Event| match &event.kind {
        EventKind::Warning { message } => Some(message.clone()),
        _ => None,
    };
    let warnings: Vec<String> = again.events.iter().filter_map(warning).collect();
    let expected =
        "the event log was damaged and is cut off there: what follows event 5 is none, at column 1";
    assert_eq!(warnings, [expected]);
}

#[test]
fn a_checkpoint_of_another_job_or_other_data_is_refused() {
    let fixture = Fixture::new();
    let job = JobSpec { epochs: 1, ..fixture.job() };
    let dir = fixture.run("run", &job).dir;
    forget_the_end(&dir);
    dir.create(&JobSpec { learning_rate: 1e-3, ..job.clone() }).unwrap();
    let refused = go(&dir);
    let (kind, message) = refused.failure();
    assert_eq!(kind, FailureKind::InvalidSetting);
    assert!(message.contains("was made with other settings in job.json"), "{message}");

    dir.create(&job).unwrap();
    fixture.write_rows("train.jsonl", &(1..25).map(crate::fixture::row).collect::<Vec<_>>());
    let refused = go(&dir);
    let (_, message) = refused.failure();
    assert!(message.contains("was made with other data files"), "{message}");
}

#[test]
fn a_damaged_job_is_a_failed_event() {
    let fixture = Fixture::new();
    let dir = fixture.run_dir("run", &fixture.job());
    let whole = fs::read_to_string(dir.job_path()).unwrap();
    for (text, expected) in [
        (whole[..whole.len() / 2].to_owned(), "is not a valid job"),
        (whole.replace("\"version\": 1", "\"version\": 9"), "version 9"),
        (whole.replace("\"epochs\"", "\"epocs\""), "is not a valid job"),
        (whole.replace("\"epochs\": 2", "\"epochs\": \"two\""), "expected u32 at line 13 column"),
        // Counting the steps of so many epochs would take all memory.
        (whole.replace("\"epochs\": 2", "\"epochs\": 4294967295"), "epochs must be from 1 to 1000"),
        (whole.replace("\"epochs\": 2", "\"epochs\": 0"), "epochs must be from 1 to 1000"),
    ] {
        fs::write(dir.job_path(), text).unwrap();
        let ended = go(&dir);
        let (kind, message) = ended.failure();
        assert_eq!(kind, FailureKind::InvalidSetting, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    // The same directory works once the job is repaired.
    fs::write(dir.job_path(), whole).unwrap();
    go(&dir).output();
}

/// Runs a job on a model with such weights, which must end with this message before anything is saved.
fn check_not_finite(change: impl Fn(&str, &mut [f32]), job: impl Fn(JobSpec) -> JobSpec, expect: &str) {
    let fixture = Fixture::new();
    write_model(&fixture.path("bad"), change);
    let (first, second) = (0..12, 12..24);
    fixture.write_rows("first.jsonl", &first.map(crate::fixture::row).collect::<Vec<_>>());
    fixture.write_rows("second.jsonl", &second.map(crate::fixture::row).collect::<Vec<_>>());
    let ended = fixture.run(
        "bad run",
        &job(JobSpec {
            base_model_dir: fixture.path("bad"),
            train_files: vec![fixture.path("first.jsonl"), fixture.path("second.jsonl")],
            checkpoint_interval_steps: 1,
            ..fixture.job()
        }),
    );
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::NonFinite, "{message}");
    assert!(message.contains(expect), "{message}");
    assert!(checkpoints(&ended.dir).is_empty() && !ended.dir.output_path().exists());
}

#[test]
fn a_frozen_weight_that_is_not_finite_is_named() {
    for (tensor, element, value, place) in [
        ("model.norm.weight", 3, f32::NAN, "[0, 3]"),
        ("model.layers.1.mlp.down_proj.weight", 57, f32::NEG_INFINITY, "[1, 1]"),
        ("model.embed_tokens.weight", 0, f32::INFINITY, "[0, 0]"),
    ] {
        let change = |name: &str, values: &mut [f32]| {
            if name == tensor {
                values[element] = value;
            }
        };
        check_not_finite(change, |job| job, &format!("tensor {tensor}: the number at {place} is not finite"));
    }
}

#[test]
fn a_loss_that_is_not_finite_names_the_rows_of_its_micro_batch() {
    let overflow = |name: &str, values: &mut [f32]| {
        if name == "model.norm.weight" {
            values.fill(3e38);
        }
    };
    // The seed's first batch. The longer row comes first, if each has a micro-batch of its own.
    let (first, second) = ("first.jsonl line 12", "second.jsonl line 11");
    let expect = |rows: &str| format!("the loss is not finite at step 1 (training rows: {rows}); lower");
    check_not_finite(overflow, |job| job, &expect(&format!("{first}, {second}")));
    check_not_finite(overflow, |job| JobSpec { micro_batch_tokens: 1, ..job }, &expect(first));
}

#[test]
fn a_gradient_that_is_not_finite_names_its_tensor_and_the_rows_of_the_step() {
    // The MLP of the first block gives nothing, so that the loss is as ever, and its gradient overflows.
    let overflow = |name: &str, values: &mut [f32]| match name {
        "model.layers.0.mlp.up_proj.weight" => values.fill(0.0),
        "model.layers.0.mlp.gate_proj.weight" => values.iter_mut().for_each(|x| *x *= 1e5),
        "model.layers.0.mlp.down_proj.weight" => values.fill(1e38),
        _ => {}
    };
    let expect = "the gradient of base_model.model.model.layers.0.mlp.up_proj.lora_B.weight is not finite at \
                  step 1 (training rows: ";
    check_not_finite(overflow, |job| job, expect);
}

#[test]
fn a_rate_that_is_too_high_ends_the_run_and_nothing_bad_is_saved() {
    let fixture = Fixture::new();

    let job = JobSpec {
        learning_rate: 1e38,
        learning_rate_warmup_steps: 0,
        checkpoint_interval_steps: 1,
        ..fixture.job()
    };
    let ended = fixture.run("rate", &job);
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::NonFinite, "{message}");
    assert!(checkpoints(&ended.dir).len() <= 1 && !ended.dir.output_path().exists());
}

#[test]
fn a_second_trainer_leaves_the_first_alone() {
    let fixture = Fixture::new();
    let dir = fixture.run_dir("run", &fixture.job());
    let lock = dir.lock().unwrap();
    assert_eq!(run(dir.root(), TrainOptions::default()), EXIT_LOCKED);
    assert!(!dir.events_path().exists());
    drop(lock);
    go(&dir).output();
}
