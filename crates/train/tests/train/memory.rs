//! The memory plan against what runs really take, and that it changes no bit of an adapter.

use std::path::PathBuf;

use hearth_data::Sample;
use hearth_run::{EXIT_OUT_OF_RESOURCES, EventKind, EventTail, FailureKind, JobSpec, RunDir};
use hearth_train::plan::{self, Plan};

use crate::fixture::{Ended, Fixture, go};
use crate::kills::spawn;

/// A run in a process of its own, so that its memory is its own.
fn run(dir: &RunDir, limit_bytes: Option<u64>) -> Ended {
    let code = spawn(dir, limit_bytes).wait().unwrap().code().expect("the trainer was not killed");
    Ended { dir: dir.clone(), code, events: EventTail::new(dir).poll().unwrap() }
}

/// Planned memory and kept blocks, as the last plan says.
fn planned(ended: &Ended) -> (u64, u64) {
    let plan = ended.events.iter().rev().find_map(|event| match event.kind {
        EventKind::Planned { planned_bytes, kept_blocks, .. } => Some((planned_bytes, kept_blocks)),
        _ => None,
    });
    plan.expect("the run was planned")
}

fn peak(ended: &Ended) -> u64 {
    let EventKind::Finished { peak_rss_bytes, .. } = ended.last() else {
        panic!("the run ended with {:?}", ended.last());
    };
    *peak_rss_bytes
}

/// The plan is right within 15 %. With a limit fewer activations are kept, the limit is kept too, and the adapter is
/// the same, byte for byte. A limit that cannot be kept ends the run before its first step.
#[test]
fn the_plan_of_the_real_base_is_near_the_truth_and_keeps_limits() {
    let help = "the real base is needed: run `cargo xtask setup`, then `cargo xtask test`, or set \
                HEARTH_TEST_MODELS_DIR to a directory that holds fireworks/smollm2-135m-instruct";
    let models = PathBuf::from(std::env::var_os("HEARTH_TEST_MODELS_DIR").expect(help));
    let fixture = Fixture::new();
    let words = "the fire burns low in the hearth and nobody speaks ";
    let long = |i: usize| crate::fixture::row(i).replace("red", &words.repeat(6 + i));
    fixture.write_rows("train.jsonl", &(0..4).map(|i| long(3 * i)).collect::<Vec<_>>());
    let job = JobSpec {
        base_model_dir: models.join("fireworks/smollm2-135m-instruct"),
        eval_files: Vec::new(),
        epochs: 1,
        lora_rank: 8,
        max_context_length: 2048,
        batch_size_samples: 4,
        threads: 2,
        ..fixture.job()
    };
    let whole = run(&fixture.run_dir("whole", &job), Some(8 << 30));
    let (planned_bytes, kept) = planned(&whole);
    let peak_bytes = peak(&whole);
    assert_eq!(kept, 30);
    let close = |planned: u64, peak: u64| planned.abs_diff(peak) * 100 <= 15 * peak;
    assert!(close(planned_bytes, peak_bytes), "planned {planned_bytes}, and it took {peak_bytes}");

    let limit = planned_bytes - 60 * (1 << 20);
    let tight = run(&fixture.run_dir("tight", &job), Some(limit));
    let (planned_bytes, kept) = planned(&tight);
    let peak_bytes = peak(&tight);
    assert!((1..30).contains(&kept), "{kept}");
    assert!(peak_bytes <= limit, "{peak_bytes} of {limit}");
    assert!(close(planned_bytes, peak_bytes), "planned {planned_bytes}, and it took {peak_bytes}");
    assert_eq!(tight.output(), whole.output());

    let refused = run(&fixture.run_dir("refused", &job), Some(200 << 20));
    let (kind, message) = refused.failure();
    assert_eq!(kind, FailureKind::OutOfResources);
    assert!(
        message.contains("and 200 MiB may be used; lower max_context_length, the batch size"),
        "{message}"
    );
    assert!(!refused.events.iter().any(|event| matches!(event.kind, EventKind::Step { .. })));
}

#[test]
fn the_largest_micro_batch_is_tried_before_the_first_step_of_every_trainer() {
    let fixture = Fixture::new();
    let job = JobSpec { batch_size_samples: 5, micro_batch_tokens: 60, ..fixture.job() };
    let dir = fixture.run("run", &job).dir;
    std::fs::remove_file(dir.events_path()).unwrap();
    std::fs::remove_dir_all(dir.output_path()).unwrap();
    let again = go(&dir);
    again.output();
    for ended in [&fixture.run("other", &job), &again] {
        let kinds: Vec<&EventKind> = ended.events.iter().map(|event| &event.kind).collect();
        let [EventKind::Started { .. }, EventKind::Validated { .. }, plan, tried, ..] = &kinds[..] else {
            panic!("{kinds:?}");
        };
        let EventKind::Planned { planned_bytes, kept_blocks: 2, blocks: 2, micro_batch_tokens, .. } = plan
        else {
            panic!("{plan:?}");
        };
        // The threads of the test process take memory of their own, but a tiny model takes next to nothing.
        assert!((1 << 20..1 << 30).contains(planned_bytes), "{planned_bytes}");
        assert!((30..=60).contains(micro_batch_tokens), "{micro_batch_tokens}");
        assert!(
            matches!(tried, EventKind::Tried { tokens, .. } if tokens == micro_batch_tokens),
            "{tried:?}"
        );
    }
}

#[test]
fn a_limit_that_the_tiny_model_cannot_keep_is_refused() {
    let fixture = Fixture::new();
    let refused = run(&fixture.run_dir("run", &fixture.job()), Some(4 << 20));
    assert_eq!(refused.code, EXIT_OUT_OF_RESOURCES);
    let (kind, message) = refused.failure();
    assert_eq!(kind, FailureKind::OutOfResources);
    assert!(message.contains("and 4 MiB may be used"), "{message}");
}

#[test]
fn the_largest_micro_batch_of_all_epochs_is_found() {
    let fixture = Fixture::new();
    let samples: Vec<Sample> = (0..40)
        .map(|i| {
            let length = 2 + (i * i * 7) % 31;
            Sample { line: 1, tokens: vec![1; length], weights: vec![1.0; length] }
        })
        .collect();
    for (epochs, micro_batch_tokens) in [(1, 50), (3, 50), (20, 50), (3, 64), (2, 1), (2, 100_000)] {
        let job = JobSpec { epochs, micro_batch_tokens, batch_size_samples: 3, ..fixture.job() };
        let plan = Plan::new(&job, &samples);
        let all = (0..epochs).flat_map(|epoch| plan.epoch(epoch)).flatten();
        let most = all.map(|indices| plan::rows(&samples, &indices)).max();
        assert_eq!(Some(plan::rows(&samples, plan.largest_micro_batch())), most);
    }
}
