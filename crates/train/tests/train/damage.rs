//! Damaged files, foreign checkpoints, numbers that are not finite, and two trainers at once.

use std::fs;
use std::path::PathBuf;

use hearth_run::{EXIT_LOCKED, EventKind, FailureKind, JobSpec, RunDir};
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

#[test]
fn numbers_that_are_not_finite_end_the_run_and_are_never_saved() {
    let fixture = Fixture::new();
    write_model(&fixture.path("nan"), |name, values| {
        if name == "model.norm.weight" {
            values[3] = f32::NAN;
        }
    });
    let job = JobSpec { base_model_dir: fixture.path("nan"), checkpoint_interval_steps: 1, ..fixture.job() };
    let ended = fixture.run("base", &job);
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::NonFinite);
    assert!(message.contains("at step 1"), "{message}");
    assert!(checkpoints(&ended.dir).is_empty() && !ended.dir.output_path().exists());

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
