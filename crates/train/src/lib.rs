//! The trainer: from a run directory's `job.json` to a checked LoRA adapter.
//!
//! # What it is for
//! [`run`] is what `hearth train RUN_DIR` does: it reads rows, trains, evaluates, saves checkpoints, writes
//! the adapter and checks it, and tells the world through events and metrics. [`estimate`] says beforehand what that
//! will take. [`mod@bench`] measures the same optimiser step, and the products in it.
//!
//! # Data flow
//! `job.json` → [`inputs`] (rows → samples, digests) → [`plan`] (samples → steps → micro-batches) →
//! [`ledger`] (what became of each row) → [`serving`] (what prompts will be) → `fit` (what is kept in memory) → `trainer` (the loop) → [`learner`] (forward, backward, AdamW) → [`checkpoint`], `output/`. Everything
//! that happens goes through [`journal`] to `events.jsonl`, `metrics.jsonl` and the log.
//!
//! # Neighbours
//! Uses `data` (rows, template, batches), `model` (decoder, LoRA, PEFT files), `kernels` (backends) and `run`
//! (the contract with whoever started this process). Knows no server, account or job resource.
//!
//! # Invariants
//! - The same `job.json` gives the same adapter, byte for byte, whatever the number of threads and however
//!   often the trainer was stopped or killed. (Other instruction sets agree within rounding. A template
//!   that asks for the time is told when the run began.)
//! - The loss is divided once per optimiser step by the sum of trained-token weights of the whole step.
//! - Nothing that is not finite is ever saved; a checkpoint or an output is complete or not there.
//! - Before the first step, the prompts that a server will give are compared with the samples.
//! - `output/` exists only when its adapter was loaded again from disk and checked.
//! - No row contents in events, metrics, log or errors.
//! - There is one loop. Other losses and collators go into it, not beside it.

pub mod bench;
pub mod card;
pub mod checkpoint;
pub mod digest;
pub mod early_stop;
pub mod error;
mod estimate;
mod fit;
pub mod inputs;
pub mod journal;
pub mod learner;
pub mod ledger;
pub mod memory;
pub mod metrics;
pub mod output;
pub mod plan;
pub mod samples;
pub mod schedule;
pub mod serving;
pub mod settings;
mod trainer;

pub use estimate::estimate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::Duration;

use hearth_run::{
    EXIT_FAILED, EXIT_LOCKED, EXIT_OUT_OF_RESOURCES, EXIT_PAUSED, EventKind, FailureKind, Heartbeat, Lock,
    RunDir, RunError,
};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{TrainError, io_error};
use crate::journal::{Journal, log};
use crate::trainer::Outcome;

/// Attempts to take the lock: somebody who asks whether a trainer lives holds it for a moment.
const LOCK_ATTEMPTS: u32 = 20;
/// Pause between them.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What may differ from `job.json` without changing the result.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrainOptions {
    /// Threads instead of those of the job; 0 means one per core.
    pub threads: Option<usize>,
    /// Memory that the process may take in bytes, instead of 80 % of what is free when it starts.
    pub memory_limit_bytes: Option<u64>,
}

/// Runs the job of a run directory and returns the exit code of the process: 0 when the adapter is in
/// `output/`, `EXIT_PAUSED` after SIGTERM or SIGINT, `EXIT_LOCKED` when another trainer lives there,
/// `EXIT_OUT_OF_RESOURCES` when it found no room on disk or in memory, `EXIT_FAILED` otherwise. A run directory that is finished already is left as it is.
pub fn run(run_dir: &Path, options: TrainOptions) -> i32 {
    let dir = RunDir::new(run_dir);
    let outcome = take_lock(&dir).and_then(|lock| run_locked(&dir, &lock, options));
    match outcome {
        Ok(Outcome::Finished) => 0,
        Ok(Outcome::Paused) => EXIT_PAUSED,
        Err(error) => {
            log(&error.full_message());
            match error.failure_kind() {
                _ if matches!(error, TrainError::Run(RunError::Locked { .. })) => EXIT_LOCKED,
                FailureKind::OutOfResources => EXIT_OUT_OF_RESOURCES,
                _ => EXIT_FAILED,
            }
        }
    }
}

fn take_lock(dir: &RunDir) -> Result<Lock, TrainError> {
    for _ in 1..LOCK_ATTEMPTS {
        match dir.lock() {
            Err(RunError::Locked { .. }) => sleep(LOCK_PAUSE),
            other => return Ok(other?),
        }
    }
    Ok(dir.lock()?)
}

/// Every failure from here on becomes a `failed` event, even a panic. On a full disk there may be no room for it; the exit
/// code tells then.
fn run_locked(dir: &RunDir, lock: &Lock, options: TrainOptions) -> Result<Outcome, TrainError> {
    let _heartbeat = Heartbeat::start(dir, lock)?;
    let mut journal = Journal::open(dir, lock)?;
    if journal.is_finished() {
        log("the run is finished already");
        return Ok(Outcome::Finished);
    }
    let stop = StopSignals::register().map_err(io_error("handle signals for", dir.root()))?;
    let trained =
        catch_unwind(AssertUnwindSafe(|| trainer::train(dir, &mut journal, options, &stop.requested)))
            .unwrap_or(Err(TrainError::Panicked));
    if let Err(error) = &trained {
        journal.append(EventKind::Failed { kind: error.failure_kind(), message: error.full_message() })?;
        journal.sync()?;
    }
    trained
}

/// SIGTERM and SIGINT set a flag while this lives.
struct StopSignals {
    requested: Arc<AtomicBool>,
    ids: Vec<signal_hook::SigId>,
}

impl StopSignals {
    fn register() -> std::io::Result<Self> {
        let mut signals = Self { requested: Arc::default(), ids: Vec::new() };
        for signal in [SIGTERM, SIGINT] {
            signals.ids.push(signal_hook::flag::register(signal, Arc::clone(&signals.requested))?);
        }
        Ok(signals)
    }
}

impl Drop for StopSignals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}
