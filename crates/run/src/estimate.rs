//! What a run is expected to take: `hearth train --estimate RUN_DIR` prints it.

use serde::{Deserialize, Serialize};

use crate::event::FailureKind;

/// Between these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval<T> {
    /// At least.
    pub low: T,
    /// At most.
    pub high: T,
}

/// What a run will do, counted, and what that is expected to take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Rows in the training files.
    pub rows: u64,
    /// Rows that are left out because they are longer than `max_context_length`.
    pub dropped_rows: u64,
    /// Rows that are scored.
    pub eval_rows: u64,
    /// Tokens of one epoch.
    pub tokens_per_epoch: u64,
    /// Tokens of all epochs.
    pub tokens: u64,
    /// Those of them that have a loss.
    pub trained_tokens: u64,
    /// Optimiser steps of all epochs.
    pub total_steps: u64,
    /// Most resident memory of the trainer, if all activations are kept. A trainer that may not take that much keeps fewer,
    /// down to `least_memory_bytes`.
    pub memory_bytes: Interval<u64>,
    /// Memory that the trainer needs at least, if it computes again what it can.
    pub least_memory_bytes: u64,
    /// From the start of the trainer to its end, on this machine with the threads that it has, when nothing else slows it.
    pub seconds: Interval<f64>,
}

/// The one line that is printed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EstimateReply {
    /// What the run is expected to take.
    Estimated(Estimate),
    /// The run would fail like this.
    Failed {
        /// Whose mistake it is.
        kind: FailureKind,
        /// What, where, what to do. Holds no row contents.
        message: String,
    },
}
