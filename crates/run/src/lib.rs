//! The run directory: all that passes between the server and a trainer.
//!
//! # What it is for
//! The server writes `job.json` and starts `hearth train RUN_DIR`. The trainer appends to `events.jsonl`
//! and `metrics.jsonl`, writes `trainer.log`, `ledger.jsonl.zst`, `serving/`, `checkpoints/` and `output/`, holds `lock` while it lives, and moves
//! `heartbeat` on while it is not stopped.
//! Both sides use the types of this crate, so that the contract stands in one place.
//!
//! # Data flow
//! [`JobSpec`] goes in, [`Event`]s and an adapter come out. [`RunDir`] knows the file names, [`checkpoint`] the
//! form of what lies in `checkpoints/`, [`ledger`] that of the ledger of rows.
//!
//! # Neighbours
//! `server` writes the job and reads events; `train` does the reverse. Nothing here knows of either.
//!
//! # Invariants
//! No account, job resource, database or API appears here. Every default is resolved before `job.json` is
//! written: the trainer decides nothing that the job leaves open. Events only grow; sequence numbers have no gaps.

pub mod checkpoint;
mod dir;
mod estimate;
mod event;
mod facts;
mod heartbeat;
mod job;
pub mod ledger;
mod metrics;

use job::is_default;

pub use dir::{EventTail, EventWriter, Lock, RunDir, RunError, write_synced};
pub use estimate::{Estimate, EstimateReply, Interval};
pub use event::{Dropped, Event, EventKind, FailureKind};
pub use facts::{FACTS_FILE, Facts, write_with_adapter};
pub use heartbeat::Heartbeat;
pub use job::{
    Backend, DataOrigin, EarlyStop, JobSpec, LORA_TARGETS, LrSchedule, MICRO_BATCH_TOKENS, Precision,
    SAMPLER_CHECKPOINTS_MAX,
};
pub use metrics::{EvalMetrics, Metrics, StepMetrics};

/// Exit code of a trainer that was asked to stop (SIGTERM) and has written a checkpoint: "paused".
pub const EXIT_PAUSED: i32 = 75;
/// Exit code of a trainer whose run failed; the `failed` event says why.
pub const EXIT_FAILED: i32 = 1;
/// Exit code of a trainer whose run failed for want of disk or memory. On a full disk there is no `failed` event.
pub const EXIT_OUT_OF_RESOURCES: i32 = 74;
/// Exit code of a trainer that found another live trainer on the run directory.
pub const EXIT_LOCKED: i32 = 73;
