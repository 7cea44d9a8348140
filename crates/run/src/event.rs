//! `events.jsonl`: the typed history of one run.

use serde::{Deserialize, Serialize};

/// One line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Sequence number, from 1, without gaps over all trainers of this run directory.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// A process took the run directory to fetch the rows; it ends before a trainer starts.
    Fetching {
        /// Its process id.
        pid: u32,
        /// Bytes that earlier ones brought.
        bytes: u64,
    },
    /// All rows are in `data/`.
    Fetched {
        /// Files.
        files: u64,
        /// Bytes of them.
        bytes: u64,
    },
    /// A trainer took the run directory; `resumed_from_step` is 0 for a fresh start.
    Started {
        /// Process id of the trainer.
        pid: u32,
        /// Step of the checkpoint that it goes on from.
        resumed_from_step: u64,
    },
    /// Rows are read, rendered and packed; training can begin.
    Validated {
        /// Rows in the training files.
        rows: u64,
        /// Samples that will be trained on.
        samples: u64,
        /// Samples dropped because they are longer than `max_context_length`.
        dropped_too_long: u64,
        /// Lines of the dropped rows, the first 100.
        dropped_lines: Vec<u64>,
        /// The file of each of these lines, from 0; empty if there is only one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dropped_files: Vec<u64>,
        /// Tokens of one epoch.
        tokens_per_epoch: u64,
        /// Tokens with loss weight of one epoch.
        trained_tokens_per_epoch: u64,
        /// Rows in the evaluation files, or rows of the training files that are set aside.
        eval_rows: u64,
        /// Rows of the training files that are set aside for evaluation.
        #[serde(default)]
        eval_carved_out: u64,
        /// Evaluation rows that are left out for their length.
        #[serde(default)]
        eval_dropped: Dropped,
        /// Optimiser steps of the whole run.
        total_steps: u64,
        /// SHA-256 of the ledger, which says what becomes of each row; see [`ledger`](crate::ledger).
        #[serde(default)]
        ledger_sha256: String,
    },
    /// How the run fits in memory. Its largest micro-batch is tried next, with gradients that are thrown away, so
    /// that too little memory shows at once.
    Planned {
        /// Memory that the trainer is expected to take at most.
        planned_bytes: u64,
        /// Memory that it may take; absent where the system does not tell what is free.
        limit_bytes: Option<u64>,
        /// Blocks of the base model.
        blocks: u64,
        /// Blocks whose activations are kept for the backward pass; the others run forward again.
        kept_blocks: u64,
        /// Tokens of the largest micro-batch of the run.
        micro_batch_tokens: u64,
    },
    /// The largest micro-batch was tried and fits.
    Tried {
        /// Its tokens.
        tokens: u64,
        /// Resident memory of the trainer after it.
        rss_bytes: u64,
    },
    /// One optimiser step is done. A trainer that goes on from a checkpoint does the steps after it again,
    /// with the same losses: after a `started` event, the last event of a step counts.
    Step {
        /// Step, from 1.
        step: u64,
        /// Steps of the whole run.
        total_steps: u64,
        /// Fraction of epochs done, for example 1.25.
        epoch: f64,
        /// Mean loss per trained token (weighted) of this step.
        loss: f64,
        /// Learning rate of this step.
        learning_rate: f64,
        /// L2 norm of the gradient.
        grad_norm: f64,
        /// Tokens processed by this step.
        tokens: u64,
        /// Trained tokens of this step.
        trained_tokens: u64,
        /// Tokens processed since the run began, over restarts.
        total_tokens: u64,
        /// Samples of this step.
        samples: u64,
        /// Samples gone through since the run began, over restarts and epochs.
        #[serde(default)]
        total_samples: u64,
        /// Tokens per second of this step.
        tokens_per_second: f64,
        /// Estimate of the time to the end of training.
        seconds_remaining: f64,
        /// Resident memory of the trainer now.
        rss_bytes: u64,
    },
    /// The evaluation rows were scored.
    Eval {
        /// After this step.
        step: u64,
        /// Mean loss per trained token.
        loss: f64,
        /// Trained tokens scored.
        trained_tokens: u64,
    },
    /// A checkpoint is on disk.
    Checkpoint {
        /// After this step.
        step: u64,
        /// Its directory's name in `checkpoints/`.
        path: String,
    },
    /// Something that the user should know and that does not stop the run.
    Warning {
        /// What and where.
        message: String,
    },
    /// SIGTERM was obeyed; the run can go on from its last checkpoint.
    Paused {
        /// Step of the checkpoint; 0 if there is none yet.
        step: u64,
    },
    /// Training is over and results are being written and checked.
    Writing {
        /// Last step.
        step: u64,
    },
    /// The adapter is in `output/` and passed the gate.
    Finished {
        /// Last step.
        step: u64,
        /// Tokens processed in the whole run.
        total_tokens: u64,
        /// Last training loss.
        train_loss: f64,
        /// Last evaluation loss, if there are evaluation rows; that of `best_step` if there is one.
        eval_loss: Option<f64>,
        /// The run ended before its last step, because the evaluation loss fell no more.
        #[serde(default)]
        early_stopped: bool,
        /// The step whose adapter is the output, if that is not the last one's as a matter of course.
        #[serde(default)]
        best_step: Option<u64>,
        /// Lower-case hex SHA-256 of `adapter_model.safetensors`.
        adapter_sha256: String,
        /// Highest resident memory.
        peak_rss_bytes: u64,
    },
    /// The run cannot go on.
    Failed {
        /// Whose mistake it is.
        kind: FailureKind,
        /// What, where, what to do. Holds no row contents.
        message: String,
    },
}

/// Rows that are left out because they are longer than `max_context_length`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// How many.
    pub count: u64,
    /// Their lines, the first 100.
    pub lines: Vec<u64>,
    /// The file of each of these lines, from 0; empty if there is only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<u64>,
}

/// Classes of failure; the server turns them into codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The rows cannot be trained on as they are.
    InvalidData,
    /// A setting cannot work (template, base model, lengths).
    InvalidSetting,
    /// Not enough memory or disk.
    OutOfResources,
    /// Loss or weights became NaN or infinite.
    NonFinite,
    /// The rows, or what they lie in, do not exist.
    NotFound,
    /// The rows may not be read.
    Denied,
    /// The rows changed while they were fetched.
    Changed,
    /// What holds the rows does not answer.
    Unreachable,
    /// A checkpoint or input file is damaged.
    Damaged,
    /// A defect of this program or the machine.
    Internal,
}
