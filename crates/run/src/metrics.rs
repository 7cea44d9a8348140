//! The metrics of a run, under the names that Fireworks' metrics file has. They go into `metrics.jsonl`, and to whoever logs
//! a run elsewhere.

use serde::Serialize;

use crate::event::EventKind;

/// What an event measures: one flat JSON object.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Metrics {
    /// A training step.
    Step(StepMetrics),
    /// An evaluation.
    Eval(EvalMetrics),
}

impl Metrics {
    /// Those of an event; `None` if it measures nothing.
    pub fn of(kind: &EventKind) -> Option<Self> {
        match *kind {
            EventKind::Step {
                step,
                total_steps,
                epoch,
                loss,
                learning_rate,
                grad_norm,
                total_tokens,
                tokens_per_second,
                seconds_remaining,
                rss_bytes,
                ..
            } => Some(Self::Step(StepMetrics {
                step,
                train_step: step,
                total_steps,
                loss,
                learning_rate,
                total_tokens,
                tokens_per_second,
                epoch,
                grad_norm,
                seconds_remaining,
                rss_bytes,
            })),
            EventKind::Eval { step, loss, trained_tokens } => {
                Some(Self::Eval(EvalMetrics { step, loss, trained_tokens }))
            }
            _ => None,
        }
    }

    /// The step that was measured, or after which.
    pub fn step(&self) -> u64 {
        match self {
            Self::Step(metrics) => metrics.step,
            Self::Eval(metrics) => metrics.step,
        }
    }
}

/// A training step's line.
#[derive(Clone, Debug, Serialize)]
pub struct StepMetrics {
    /// Step, from 1.
    pub step: u64,
    /// The same, under the name that plotting tools expect.
    #[serde(rename = "train/step")]
    pub train_step: u64,
    /// Steps of the whole run.
    #[serde(rename = "train/total_steps")]
    pub total_steps: u64,
    /// Mean loss per trained token.
    #[serde(rename = "train/loss")]
    pub loss: f64,
    /// Learning rate.
    #[serde(rename = "train/lr")]
    pub learning_rate: f64,
    /// Tokens processed since the run began.
    #[serde(rename = "train/total_tokens")]
    pub total_tokens: u64,
    /// Tokens per second of this step.
    #[serde(rename = "train/tokens_per_sec")]
    pub tokens_per_second: f64,
    /// Epochs done, as a fraction.
    #[serde(rename = "train/epoch")]
    pub epoch: f64,
    /// L2 norm of the gradient.
    #[serde(rename = "train/grad_norm")]
    pub grad_norm: f64,
    /// Estimate of the time to the end of training.
    #[serde(rename = "train/seconds_remaining")]
    pub seconds_remaining: f64,
    /// Resident memory of the trainer.
    #[serde(rename = "perf/rss_bytes")]
    pub rss_bytes: u64,
}

/// An evaluation's line.
#[derive(Clone, Debug, Serialize)]
pub struct EvalMetrics {
    /// After this step.
    pub step: u64,
    /// Mean loss per trained token of the evaluation rows.
    #[serde(rename = "eval/loss")]
    pub loss: f64,
    /// Trained tokens scored.
    #[serde(rename = "eval/tokens")]
    pub trained_tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_order_are_those_of_the_file() {
        let check = |kind: EventKind, expect: &str| {
            let metrics = Metrics::of(&kind).unwrap();
            assert_eq!((metrics.step(), serde_json::to_string(&metrics).unwrap().as_str()), (3, expect));
        };
        let step = EventKind::Step {
            step: 3,
            total_steps: 9,
            epoch: 0.5,
            loss: 2.5,
            learning_rate: 0.25,
            grad_norm: 1.5,
            tokens: 1,
            trained_tokens: 1,
            total_tokens: 7,
            total_samples: 1,
            samples: 1,
            tokens_per_second: 4.5,
            seconds_remaining: 8.5,
            rss_bytes: 11,
        };
        check(
            step,
            concat!(
                r#"{"step":3,"train/step":3,"train/total_steps":9,"train/loss":2.5,"train/lr":0.25,"#,
                r#""train/total_tokens":7,"train/tokens_per_sec":4.5,"train/epoch":0.5,"train/grad_norm":1.5,"#,
                r#""train/seconds_remaining":8.5,"perf/rss_bytes":11}"#
            ),
        );
        let eval = EventKind::Eval { step: 3, loss: 2.0, trained_tokens: 5 };
        check(eval, r#"{"step":3,"eval/loss":2.0,"eval/tokens":5}"#);
        assert!(Metrics::of(&EventKind::Writing { step: 3 }).is_none());
    }
}
