//! What a job is expected to take, before it runs.

use serde::{Deserialize, Serialize};

use crate::price::Money;

/// What is known of it. A job waits for its turn only when this is not [`JobEstimate::Waiting`] any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobEstimate {
    /// Nobody has looked at its rows yet.
    Waiting,
    /// It cannot be said; if something is wrong with the job, its trainer will say what.
    #[default]
    Unknown,
    /// As it was worked out from its rows.
    Known(Estimate),
}

impl JobEstimate {
    /// What is known.
    pub fn known(&self) -> Option<&Estimate> {
        match self {
            Self::Known(estimate) => Some(estimate),
            Self::Waiting | Self::Unknown => None,
        }
    }
}

/// Counted from the rows, and expected of this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Tokens of all epochs: what the price is for.
    pub tokens: u64,
    /// Price of these tokens.
    pub cost: Money,
    /// Most memory of the trainer if it keeps all activations, at least.
    pub memory_bytes_low: u64,
    /// At most.
    pub memory_bytes_high: u64,
    /// Memory that the trainer needs at least, if it computes again what it can.
    pub least_memory_bytes: u64,
    /// Time from the start of the trainer to its end, at least.
    pub seconds_low: f64,
    /// At most.
    pub seconds_high: f64,
}
