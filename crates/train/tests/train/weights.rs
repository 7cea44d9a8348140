//! Weights of rows.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hearth_kernels::{AdamW, Reference};
use hearth_run::{EventKind, JobSpec};
use hearth_train::inputs::Inputs;
use hearth_train::plan;

use crate::fixture::{Fixture, row};

fn weighted(i: usize, weight: f64) -> String {
    let mut row: serde_json::Value = serde_json::from_str(&row(i)).unwrap();
    row["weight"] = weight.into();
    row.to_string()
}

fn inputs(fixture: &Fixture, rows: &[String]) -> Inputs {
    fixture.write_rows("train.jsonl", rows);
    Inputs::read(JobSpec { eval_files: vec![], ..fixture.job() }, 0, &AtomicBool::new(false)).unwrap()
}

/// Loss and norm of the gradient of a step over all rows, and the numbers of the adapter after it.
fn step(inputs: &Inputs) -> (f64, f64, Vec<f32>) {
    let mut learner = inputs.learner(Arc::new(Reference::<f64>::new())).unwrap();
    let adamw =
        AdamW { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: 1 };
    let result = learner.step(&[plan::packed(&inputs.train.samples)], &adamw).unwrap();
    let numbers = learner.state().into_iter().flat_map(|tensor| tensor.weight).collect();
    (result.loss, result.grad_norm, numbers)
}

#[test]
fn a_row_of_weight_two_counts_as_two_rows() {
    let fixture = Fixture::new();
    let two = step(&inputs(&fixture, &[weighted(0, 2.0), weighted(1, 1.0), weighted(2, 0.5)]));
    let repeated = [weighted(0, 1.0), weighted(0, 1.0), weighted(1, 1.0), weighted(2, 0.5)];
    let twice = step(&inputs(&fixture, &repeated));
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs().max(1e-3);
    assert!(close(two.0, twice.0) && close(two.1, twice.1), "{} {} {} {}", two.0, two.1, twice.0, twice.1);
    assert!(two.2.iter().zip(&twice.2).all(|(a, b)| close(f64::from(*a), f64::from(*b))));
    let once = step(&inputs(&fixture, &[weighted(0, 1.0), weighted(1, 1.0), weighted(2, 0.5)]));
    assert!(!close(two.1, once.1), "the weight does not reach the gradient");
    // Only the ratio of weights counts.
    let scaled = step(&inputs(&fixture, &[weighted(0, 8.0), weighted(1, 4.0), weighted(2, 2.0)]));
    assert!(close(two.0, scaled.0) && close(two.1, scaled.1));
}

#[test]
fn the_loss_is_the_mean_over_the_sum_of_weights() {
    let fixture = Fixture::new();
    let weights = [2.0, 1.0, 0.5];
    let rows: Vec<String> = weights.iter().enumerate().map(|(i, &weight)| weighted(i, weight)).collect();
    let inputs = inputs(&fixture, &rows);
    let mut learner = inputs.learner(Arc::new(Reference::<f64>::new())).unwrap();
    let (mut loss, mut sum) = (0.0, 0.0);
    for (sample, weight) in inputs.train.samples.iter().zip(weights) {
        let mut plain = sample.clone();
        plain.weights.iter_mut().filter(|weight| **weight > 0.0).for_each(|weight| *weight = 1.0);
        let sums = learner.loss(&plan::packed([&plain])).unwrap();
        assert_eq!(sums.weight, plain.trained_tokens() as f64);
        loss += weight * sums.loss;
        sum += weight * sums.weight;
    }
    let (found, ..) = step(&inputs);
    assert!((found - loss / sum).abs() <= 1e-6 * found, "{found} and {}", loss / sum);
}

#[test]
fn weights_do_not_change_what_is_counted() {
    let fixture = Fixture::new();
    let job = JobSpec { epochs: 1, ..fixture.job() };
    let counted = |name: &str, weight: f64| {
        fixture.write_rows("train.jsonl", &(0..8).map(|i| weighted(i, weight)).collect::<Vec<_>>());
        let ended = fixture.run(name, &job);
        ended.output();
        let count = |event: &hearth_run::Event| match event.kind {
            EventKind::Step { tokens, trained_tokens, total_tokens, .. } => {
                Some([tokens, trained_tokens, total_tokens])
            }
            EventKind::Validated { rows, tokens_per_epoch, trained_tokens_per_epoch, .. } => {
                Some([rows, tokens_per_epoch, trained_tokens_per_epoch])
            }
            _ => None,
        };
        ended.events.iter().filter_map(count).collect::<Vec<_>>()
    };
    let plain = counted("plain", 1.0);
    assert_eq!(plain.len(), 1 + 4);
    assert_eq!(counted("weighted", 3.5), plain);
}
