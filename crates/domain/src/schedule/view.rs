//! What a decision knows of one job.

use super::Share;
use crate::estimate::JobEstimate;
use crate::id::{AccountId, JobId};
use crate::record::Job;
use crate::state::JobState;

/// What is known of the trainer of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// No process.
    Gone,
    /// A process, or one that has been started and not yet reported.
    Live,
    /// Asked to stop at this time.
    Stopping {
        /// When, in milliseconds since the Unix epoch.
        since_ms: i64,
    },
    /// It could not be looked at this time. Nothing is done about the job, and what it may have stays taken.
    Unseen {
        /// A process was there when it was seen last.
        was_live: bool,
    },
}

/// One job that is not at rest: not final, or final with a trainer that still lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// Key of the job's row; two jobs of one name (one deleted, one new) differ in it.
    pub key: i64,
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: JobId,
    /// Where it stands.
    pub state: JobState,
    /// When it was made.
    pub create_time_ms: i64,
    /// Since when it waits, if it does.
    pub waiting_since_ms: i64,
    /// Since when a trainer works for it, if one does.
    pub active_since_ms: Option<i64>,
    /// It is a pilot job.
    pub is_pilot: bool,
    /// Reservation of its account that it may use.
    pub reservation: Option<String>,
    /// Somebody has tried to say what it takes; before that it does not start.
    pub is_counted: bool,
    /// Memory that it needs at least, by the engine's estimate; 0 if nobody knows.
    pub memory_bytes: u64,
    /// What its last trainer was given.
    pub share: Share,
    /// Losses in a row without a new step.
    pub losses_without_progress: u32,
    /// Its trainer.
    pub run: Run,
}

impl JobView {
    /// Of a job, whose row has this key, and its trainer.
    pub fn new(key: i64, job: &Job, run: Run) -> Self {
        Self {
            key,
            account: job.account.clone(),
            id: job.id.clone(),
            state: job.state,
            create_time_ms: job.create_time_ms,
            waiting_since_ms: job.waiting_since_ms.unwrap_or(job.update_time_ms),
            active_since_ms: job.active_since_ms,
            is_pilot: job.settings.placement.is_pilot,
            reservation: job.settings.placement.reservation.clone(),
            is_counted: job.estimate != JobEstimate::Waiting,
            memory_bytes: job.estimate.known().map_or(0, |estimate| estimate.least_memory_bytes),
            share: job.share,
            losses_without_progress: job.losses_without_progress,
            run,
        }
    }

    /// Whether it has a process, as far as one can know.
    pub(super) fn has_process(&self) -> bool {
        match self.run {
            Run::Gone => false,
            Run::Live | Run::Stopping { .. } => true,
            Run::Unseen { was_live } => was_live || self.state.is_active(),
        }
    }
}

/// A job that was never started has no run, even if a deleted job of its name still has one.
pub fn may_have_run(job: &Job) -> bool {
    job.has_started || job.state != JobState::Pending || job.events_read > 0
}
