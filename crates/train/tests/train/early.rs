//! Runs that end when the evaluation loss falls no more, checkpoints that stay, and rates that fall.

use std::collections::BTreeMap;
use std::fs;

use hearth_run::checkpoint::{directory_name, read, steps};
use hearth_run::{
    EarlyStop, EventKind, EventTail, FailureKind, JobSpec, LrSchedule, SAMPLER_CHECKPOINTS_MAX,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use safetensors::SafeTensors;

use crate::fixture::{Ended, Fixture, go, metrics, row};
use crate::kills::{spawn, wait_for_steps};

const WEIGHTS: &str = "adapter_model.safetensors";

/// What is learnt of the training rows is wrong for the evaluation rows, but for the form of answers.
fn fixture() -> Fixture {
    let fixture = Fixture::new();
    let other = |i: usize| row(i).replace("apple", "planet").replace("sky", "apple").replace("planet", "sky");
    fixture.write_rows("eval.jsonl", &(0..6).map(other).collect::<Vec<_>>());
    fixture
}

fn job(fixture: &Fixture, patience: u32, epochs: u32) -> JobSpec {
    let early_stop = Some(EarlyStop { patience, min_gain: 0.0 });
    JobSpec { epochs, early_stop, eval_interval_steps: 0, learning_rate: 0.03, ..fixture.job() }
}

/// Steps and losses of the evaluations; of one that was made twice the last.
fn evaluations(ended: &Ended) -> Vec<(u64, f64)> {
    let found = ended.events.iter().filter_map(|event| match event.kind {
        EventKind::Eval { step, loss, .. } => Some((step, loss)),
        _ => None,
    });
    found.collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn finished(ended: &Ended) -> (u64, bool, Option<u64>, Option<f64>) {
    match ended.last() {
        EventKind::Finished { step, early_stopped, best_step, eval_loss, .. } => {
            (*step, *early_stopped, *best_step, *eval_loss)
        }
        other => panic!("the run ended with {other:?}"),
    }
}

/// The output is the adapter of this checkpoint, to the last bit.
fn assert_output_is_of(ended: &Ended, step: u64) {
    let saved = read(&ended.dir.checkpoints_path().join(directory_name(step)), step).unwrap();
    let bytes = fs::read(ended.dir.output_path().join(WEIGHTS)).unwrap();
    let output = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(output.len(), saved.tensors.len());
    for tensor in &saved.tensors {
        let weight: Vec<u8> = tensor.weight.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(output.tensor(&tensor.name).unwrap().data(), weight, "{}", tensor.name);
    }
}

#[test]
fn a_run_ends_early_with_its_best_adapter() {
    let fixture = fixture();
    let ended = fixture.run("run", &job(&fixture, 3, 20));
    ended.output();
    let (step, early, best_step, eval_loss) = finished(&ended);
    let evaluations = evaluations(&ended);
    // Twelve steps an epoch: every half of one.
    assert!(
        evaluations.iter().enumerate().all(|(i, (step, _))| *step == 6 * (i as u64 + 1)),
        "{evaluations:?}"
    );
    let best = evaluations.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert!(early && step < 240, "{evaluations:?}");
    assert_eq!((best_step, eval_loss), (Some(best.0), Some(best.1)));
    assert_eq!(step, best.0 + 3 * 6);
    assert_output_is_of(&ended, best.0);
    let card = fs::read_to_string(ended.dir.output_path().join("README.md")).unwrap();
    assert!(card.contains(&format!("The adapter is that of step {}", best.0)), "{card}");
    let last = evaluations.last().unwrap();
    assert!(card.contains(&format!("| last evaluation loss | {:.6} |", last.1)), "{card}");
    assert_ne!(format!("{:.6}", last.1), format!("{:.6}", best.1));
    // Without it the same run goes on, and ends with another adapter.
    let without = fixture.run("without", &JobSpec { early_stop: None, ..job(&fixture, 3, 20) });
    assert_ne!(without.output()[WEIGHTS], ended.output()[WEIGHTS]);
    assert_eq!(finished(&without).0, 240);
    assert_eq!((finished(&without).1, finished(&without).2), (false, None));
}

#[test]
fn the_best_adapter_is_the_output_at_the_end_too() {
    let fixture = fixture();
    let ended = fixture.run("run", &job(&fixture, 1000, 6));
    ended.output();
    let (step, early, best_step, _) = finished(&ended);
    let best = evaluations(&ended).into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!((step, early, best_step), (72, false, Some(best.0)));
    assert!(best.0 < 72, "the evaluation rows contradict the training rows");
    assert_output_is_of(&ended, best.0);
}

#[test]
fn kills_change_nothing_of_an_early_end() {
    let fixture = fixture();
    let job = job(&fixture, 3, 20);
    let undisturbed = fixture.run("undisturbed", &job);
    let (output, expect) = (undisturbed.output(), finished(&undisturbed));
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut kills = 0;
    for round in 0..4 {
        let dir = fixture.run_dir(&format!("run{round}"), &job);
        let mut tail = EventTail::new(&dir);
        for _ in 0..4 {
            let mut child = spawn(&dir, None);
            if wait_for_steps(&mut child, &mut tail, 1 + rng.next_u32() % 20).is_none() {
                child.kill().unwrap();
            }
            kills += u32::from(!child.wait().unwrap().success());
        }
        let ended = go(&dir);
        assert_eq!(ended.output(), output, "round {round}");
        assert_eq!(finished(&ended), expect, "round {round}");
        assert_eq!(evaluations(&ended).last(), evaluations(&undisturbed).last(), "round {round}");
        assert_eq!(metrics(&dir, "eval/loss"), metrics(&undisturbed.dir, "eval/loss"), "round {round}");
    }
    assert!(kills >= 4, "only {kills} trainers were killed before their end");
}

#[test]
fn a_best_checkpoint_that_is_damaged_is_made_again() {
    let fixture = fixture();
    let ended = fixture.run("run", &job(&fixture, 3, 20));
    let output = ended.output();
    let best = ended.dir.checkpoints_path().join(directory_name(finished(&ended).2.unwrap()));
    fs::write(best.join("tensors.safetensors"), "x").unwrap();
    fs::remove_file(ended.dir.events_path()).unwrap();
    fs::remove_dir_all(ended.dir.output_path()).unwrap();
    let again = go(&ended.dir);
    assert!(matches!(again.events[0].kind, EventKind::Started { resumed_from_step: 0, .. }));
    assert!(again.events.iter().any(|event| matches!(event.kind, EventKind::Warning { .. })));
    assert_eq!(again.output(), output);
}

#[test]
fn an_early_end_needs_evaluation_rows() {
    let fixture = fixture();
    let without = JobSpec { eval_files: vec![], ..job(&fixture, 3, 2) };
    let ended = fixture.run("without", &without);
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::InvalidSetting);
    assert!(message.contains("early_stop needs evaluation rows"), "{message}");
    fixture.write_rows("train.jsonl", &[row(0)]);
    let ended = fixture.run("single", &JobSpec { eval_carveout: true, ..without });
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::InvalidData);
    assert!(message.contains("no row can be set aside"), "{message}");
}

#[test]
fn checkpoints_of_an_interval_stay_and_change_nothing() {
    let fixture = Fixture::new();
    let without = fixture.run("without", &fixture.job()).output();
    let job = JobSpec { sampler_checkpoint_interval_steps: 7, ..fixture.job() };
    let ended = fixture.run("run", &job);
    assert_eq!(ended.output(), without);
    assert_eq!(steps(&ended.dir.checkpoints_path()).unwrap(), [7, 14, 21, 24]);
    for step in [7, 14, 21] {
        read(&ended.dir.checkpoints_path().join(directory_name(step)), step).unwrap();
    }

    // 120 steps, and each of them would stay.
    let ended = fixture.run("many", &JobSpec { epochs: 10, sampler_checkpoint_interval_steps: 1, ..job });
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::InvalidSetting);
    let limit = format!("{SAMPLER_CHECKPOINTS_MAX} are kept at most; set it to 2 or more");
    assert!(message.contains(&limit), "{message}");
    assert!(!ended.events.iter().any(|event| matches!(event.kind, EventKind::Step { .. })));
}

#[test]
fn the_rate_of_each_step_is_that_of_the_schedule() {
    let fixture = Fixture::new();
    let job = JobSpec {
        epochs: 1,
        batch_size_samples: 3,
        learning_rate: 1e-2,
        learning_rate_warmup_steps: 2,
        ..fixture.job()
    };
    let rates = |name: &str, lr_schedule| {
        let ended = fixture.run(name, &JobSpec { lr_schedule, ..job.clone() });
        (metrics(&ended.dir, "train/lr"), ended.output()[WEIGHTS].clone())
    };
    let (constant, first) = rates("constant", LrSchedule::Constant);
    assert_eq!(constant, [0.005, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]);
    let (linear, second) = rates("linear", LrSchedule::Linear);
    for (got, sixth) in linear[2..].iter().zip([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]) {
        assert!((got - 0.01 * sixth / 6.0).abs() < 1e-8, "{linear:?}");
    }
    let (cosine, third) = rates("cosine", LrSchedule::Cosine { min_ratio: 0.1, decay_ratio: 0.25 });
    assert_eq!(cosine[..7], constant[..7]);
    assert!((cosine[7] - 0.0055).abs() < 1e-8, "{cosine:?}");
    assert!(first != second && second != third && first != third);
}

#[test]
fn a_warm_up_that_never_ends_is_told() {
    let fixture = Fixture::new();
    let warned = |learning_rate_warmup_steps| {
        let job = JobSpec { learning_rate_warmup_steps, ..fixture.job() };
        let ended = fixture.run(&format!("warm-up-{learning_rate_warmup_steps}"), &job);
        let total = match ended.last() {
            EventKind::Finished { step, .. } => *step,
            other => panic!("the run ended with {other:?}"),
        };
        let told = ended.events.iter().any(|event| {
            matches!(&event.kind, EventKind::Warning { message } if message.contains("steps of warm-up are not less"))
        });
        (total, told)
    };
    let (total, told) = warned(1);
    assert!(!told);
    assert!(!warned(total as u32 - 1).1);
    assert!(warned(total as u32).1);
}
