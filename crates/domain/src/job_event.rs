//! What a job's event log tells besides changes of its state: what its run reported, and what became of it elsewhere.

use serde::{Deserialize, Serialize};

/// Something that a user wants to know of a job and that changes nothing about its state. It never holds the content of
/// a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobNote {
    /// Something to look at that does not stop the job; the message says it.
    Warning,
    /// A trainer began.
    Started {
        /// Step of the checkpoint that it goes on from; 0 for a fresh start.
        resumed_from_step: u64,
    },
    /// The rows are read.
    Validated {
        /// Rows in the training files.
        rows: u64,
        /// Samples that are trained on.
        samples: u64,
        /// Rows that are left out because they are too long.
        dropped_too_long: u64,
        /// Lines of these, the first of them.
        dropped_lines: Vec<u64>,
        /// Tokens of one epoch.
        tokens_per_epoch: u64,
        /// Those of them that have a loss.
        trained_tokens_per_epoch: u64,
        /// Rows to evaluate on.
        eval_rows: u64,
        /// Those of them that are set aside from the training files.
        eval_carved_out: u64,
        /// Rows to evaluate on that are left out because they are too long.
        eval_dropped: u64,
        /// Optimiser steps of the whole run.
        total_steps: u64,
    },
    /// The evaluation rows were scored.
    Evaluated {
        /// After this step.
        step: u64,
        /// Mean loss per trained token.
        loss: f64,
        /// Trained tokens that were scored.
        trained_tokens: u64,
    },
    /// A checkpoint is on disk.
    Checkpoint {
        /// After this step.
        step: u64,
    },
    /// The adapter is made and checked.
    Finished {
        /// Last step.
        step: u64,
        /// Tokens of the whole run.
        total_tokens: u64,
        /// Last training loss.
        train_loss: f64,
        /// Last evaluation loss, if there are evaluation rows.
        eval_loss: Option<f64>,
        /// Highest memory of the trainer.
        peak_rss_bytes: u64,
    },
}

impl JobNote {
    /// Name in the event log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Started { .. } => "started",
            Self::Validated { .. } => "validated",
            Self::Evaluated { .. } => "evaluated",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Finished { .. } => "finished",
        }
    }

    /// Whether the same thing may be told again. A trainer that goes on from a checkpoint repeats what it said since; only
    /// its start is news.
    pub fn is_told_each_time(&self) -> bool {
        match self {
            Self::Started { .. } => true,
            Self::Warning
            | Self::Validated { .. }
            | Self::Evaluated { .. }
            | Self::Checkpoint { .. }
            | Self::Finished { .. } => false,
        }
    }
}

/// A note with its time and its words.
#[derive(Clone, Debug, PartialEq)]
pub struct JobNews {
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What.
    pub note: JobNote,
    /// The same for people.
    pub message: String,
}
