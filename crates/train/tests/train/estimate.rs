//! What is said of a run beforehand is what the run says of itself.

use hearth_run::{EstimateReply, EventKind, FailureKind, JobSpec};
use hearth_train::{TrainOptions, estimate};

use crate::fixture::Fixture;

#[test]
fn counts_are_those_of_the_run() {
    let fixture = Fixture::new();
    let job = JobSpec { max_context_length: 50, epochs: 3, ..fixture.job() };
    let dir = fixture.run_dir("run", &job);
    let before = std::fs::read_dir(dir.root()).unwrap().count();
    let EstimateReply::Estimated(found) = estimate(dir.root(), TrainOptions::default()) else {
        panic!("the job can be trained");
    };
    assert_eq!(std::fs::read_dir(dir.root()).unwrap().count(), before, "nothing is left behind");
    let run = crate::fixture::go(&dir);
    run.output();
    let validated = run.events.iter().find_map(|event| match &event.kind {
        EventKind::Validated {
            rows,
            dropped_too_long,
            tokens_per_epoch,
            trained_tokens_per_epoch,
            eval_rows,
            total_steps,
            ..
        } => Some((
            *rows,
            *dropped_too_long,
            *tokens_per_epoch,
            3 * trained_tokens_per_epoch,
            *eval_rows,
            *total_steps,
        )),
        _ => None,
    });
    let expect = (
        found.rows,
        found.dropped_rows,
        found.tokens_per_epoch,
        found.trained_tokens,
        found.eval_rows,
        found.total_steps,
    );
    assert_eq!(validated, Some(expect));
    assert!(found.dropped_rows > 0, "the job leaves rows out");
    let Some(EventKind::Finished { total_tokens, .. }) = run.events.last().map(|event| &event.kind) else {
        panic!("the run is finished");
    };
    assert_eq!(found.tokens, *total_tokens);
    assert!(0.0 < found.seconds.low && found.seconds.low < found.seconds.high);
    assert!(found.least_memory_bytes <= found.memory_bytes.high);
}

#[test]
fn what_shows_when_rows_are_packed_or_an_adapter_is_opened_is_told_too() {
    let fixture = Fixture::new();
    let job = fixture.job();
    let cold = fixture.run("cold", &JobSpec { epochs: 1, ..job.clone() });
    cold.output();
    let warm = JobSpec { warm_start_dir: Some(cold.dir.output_path()), ..job.clone() };
    for (name, job, part) in [
        // 120 steps, and each of them would stay.
        ("steps", JobSpec { epochs: 10, sampler_checkpoint_interval_steps: 1, ..job }, "kept at most"),
        ("rank", JobSpec { lora_rank: 8, ..warm.clone() }, "not those of the adapter in warm_start_dir"),
    ] {
        let dir = fixture.run_dir(name, &job);
        let EstimateReply::Failed { kind, message } = estimate(dir.root(), TrainOptions::default()) else {
            panic!("{name}: the run fails before its first step");
        };
        assert!(message.contains(part), "{name}: {message}");
        assert_eq!((kind, message.as_str()), crate::fixture::go(&dir).failure(), "{name}");
        assert_eq!(kind, FailureKind::InvalidSetting);
    }
    let dir = fixture.run_dir("warm", &warm);
    assert!(matches!(estimate(dir.root(), TrainOptions::default()), EstimateReply::Estimated(_)));
}

#[test]
fn a_run_that_would_fail_is_not_estimated() {
    let fixture = Fixture::new();
    fixture.write_rows("train.jsonl", &["{\"messages\": []}".to_owned()]);
    let dir = fixture.run_dir("run", &fixture.job());
    let EstimateReply::Failed { kind, message } = estimate(dir.root(), TrainOptions::default()) else {
        panic!("the rows are bad");
    };
    let run = crate::fixture::go(&dir);
    assert_eq!((kind, message.as_str()), run.failure());
    assert_eq!(kind, FailureKind::InvalidData);

    let roomy =
        fixture.run_dir("roomy", &JobSpec { train_files: vec![fixture.path("eval.jsonl")], ..fixture.job() });
    let tight = TrainOptions { memory_limit_bytes: Some(1 << 20), ..TrainOptions::default() };
    let EstimateReply::Failed { kind, .. } = estimate(roomy.root(), tight) else {
        panic!("a mebibyte is too little");
    };
    assert_eq!(kind, FailureKind::OutOfResources);
}
