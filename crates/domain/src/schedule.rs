//! Which job runs next: a pure function from what is to what to do.
//!
//! The server calls [`schedule`] again and again, carries out the actions, and looks again. Nothing is remembered
//! between two calls besides what stands in the snapshot, so a server that dies and starts again goes on.
//!
//! Trainers run in shared capacity or in capacity that is reserved for an account ([`Reservation`]); `pool` counts what
//! is free in each. `queue` says which waiting jobs start: the account first for which trainers work and have worked
//! least ([`Usage`]), and of one account the job that waits longest, pilots with a head start.

mod pool;
mod queue;
mod usage;
mod view;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use usage::{HALF_LIFE_MS, Usage};
pub use view::{JobView, Run, may_have_run};

use crate::id::AccountId;
use crate::state::JobState;

/// Times that a trainer may be lost in a row without a new step before the job fails.
pub const LOSSES_WITHOUT_PROGRESS_MAX: u32 = 5;
/// Longest time that a job waits for a trainer, unless the operator says otherwise.
pub const WAIT_MAX_MS: i64 = 30 * 24 * 3600 * 1000;
/// Work that makes no difference between two accounts: the older job goes first.
pub const USAGE_STEP_MS: u64 = 60 * 1000;
/// A pilot job counts as made so much earlier, unless the operator says otherwise.
pub const PILOT_HEAD_START_MS: i64 = 3600 * 1000;
/// Time that a job lets others pass which fit now while it does not; then capacity is kept free for it.
pub const PATIENCE_MS: i64 = 10 * 60 * 1000;

/// Capacity that is kept for jobs of one account that ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Whose.
    pub account: AccountId,
    /// Name within the account.
    pub id: String,
    /// Trainers, of those that may live at once.
    pub trainers: usize,
    /// Memory, of that of all trainers.
    pub memory_bytes: u64,
}

impl Reservation {
    /// `accounts/{account}/reservations/{reservation}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/reservations/{}", self.account, self.id)
    }
}

/// What the operator allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Trainers that may live at once, those in reserved capacity included.
    pub capacity: usize,
    /// Memory of all of them together; 0 if nobody knows.
    pub memory_bytes: u64,
    /// Threads of all of them together, of which each gets the same part; 0 leaves it to the trainer.
    pub threads: usize,
    /// Parts of the above that are kept for single accounts.
    pub reservations: Vec<Reservation>,
    /// Jobs that may run at once for each account, and for single ones.
    pub running_max: RunningMax,
    /// Pilot jobs that may run at once.
    pub pilots_max: usize,
    /// See [`PILOT_HEAD_START_MS`].
    pub pilot_head_start_ms: i64,
    /// See [`PATIENCE_MS`].
    pub patience_ms: i64,
    /// Longest time that a job waits; then it is EXPIRED. `None` is for ever.
    pub wait_max_ms: Option<i64>,
    /// Time between asking a trainer to stop and killing it. A trainer ends its step and writes a checkpoint first.
    pub stop_grace_ms: i64,
}

impl Default for Limits {
    /// One trainer, which takes the whole machine, and twenty seconds.
    fn default() -> Self {
        Self {
            capacity: 1,
            memory_bytes: 0,
            threads: 0,
            reservations: Vec::new(),
            running_max: RunningMax::default(),
            pilots_max: usize::MAX,
            pilot_head_start_ms: PILOT_HEAD_START_MS,
            patience_ms: PATIENCE_MS,
            wait_max_ms: Some(WAIT_MAX_MS),
            stop_grace_ms: 20_000,
        }
    }
}

impl Limits {
    /// Threads of one trainer; 0 leaves it to the trainer.
    pub fn threads_per_trainer(&self) -> usize {
        match self.threads {
            0 => 0,
            threads => (threads / self.capacity.max(1)).max(1),
        }
    }
}

/// How many jobs of an account may run at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningMax {
    /// For accounts that have no number of their own.
    pub of_each: u64,
    /// For single accounts.
    pub of_one: BTreeMap<AccountId, u64>,
}

impl Default for RunningMax {
    fn default() -> Self {
        Self { of_each: u64::MAX, of_one: BTreeMap::new() }
    }
}

impl RunningMax {
    /// That of an account.
    pub fn of(&self, account: &AccountId) -> u64 {
        self.of_one.get(account).copied().unwrap_or(self.of_each)
    }
}

/// What a trainer was given when it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Share {
    /// It runs in capacity that is reserved for its account.
    pub is_reserved: bool,
    /// Memory that it may take; 0 if nobody knows.
    pub memory_bytes: u64,
    /// Threads; 0 leaves it to the trainer.
    pub threads: usize,
}

/// All that a decision depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Jobs that run or are to be cleaned up, and of each account and class of jobs the oldest that wait.
    pub jobs: Vec<JobView>,
    /// What trainers did for accounts before those that live now; none for accounts that are not here.
    pub usage: BTreeMap<AccountId, Usage>,
    /// Memory that the machine can give now, if it says so.
    pub free_memory_bytes: Option<u64>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Write the run directory, if it is not there, and start a trainer; the job becomes VALIDATING.
    Start(i64, Share),
    /// The trainer is gone; the job becomes RE_QUEUEING.
    Requeue(i64),
    /// The trainer is gone once too often; the job becomes FAILED.
    GiveUp(i64),
    /// The job needs more memory than it can ever get; it becomes FAILED.
    Refuse(i64, TooLarge),
    /// The job waited too long; it becomes EXPIRED.
    Expire(i64),
    /// Ask the trainer to stop.
    Stop(i64),
    /// Kill the trainer.
    Kill(i64),
    /// Remove the run directory and the row of a deleted job.
    Remove(i64),
}

impl Action {
    /// The job that it is about.
    pub fn key(self) -> i64 {
        match self {
            Self::Start(key, _)
            | Self::Requeue(key)
            | Self::GiveUp(key)
            | Self::Refuse(key, _)
            | Self::Expire(key)
            | Self::Stop(key)
            | Self::Kill(key)
            | Self::Remove(key) => key,
        }
    }
}

/// Why a job can never run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooLarge {
    /// Memory that it needs at least.
    pub needed_bytes: u64,
    /// The most that it could get.
    pub limit_bytes: u64,
}

impl TooLarge {
    /// For the job's user: how much is needed, and what would help.
    pub fn message(&self) -> String {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        format!(
            "the job needs at least {} MiB of memory and could get {} MiB here; a smaller base, shorter samples \
             (maxContextLength) or a lower loraRank need less, and the operator can give trainers more (hearth serve \
             --trainer-memory)",
            mib(self.needed_bytes),
            self.limit_bytes >> 20
        )
    }
}

/// The actions that the snapshot calls for.
///
/// Carrying the actions out and calling again with the new snapshot gives none of them again.
pub fn schedule(snapshot: &Snapshot, limits: &Limits, now_ms: i64) -> Vec<Action> {
    let mut actions = Vec::new();
    for job in &snapshot.jobs {
        match (job.run, job.state) {
            (Run::Gone, JobState::Deleting) => actions.push(Action::Remove(job.key)),
            (Run::Gone, state) if state.is_active() => {
                actions.push(if job.losses_without_progress < LOSSES_WITHOUT_PROGRESS_MAX {
                    Action::Requeue(job.key)
                } else {
                    Action::GiveUp(job.key)
                });
            }
            (Run::Gone | Run::Unseen { .. }, _) => {}
            (Run::Live, state) if state.is_active() => {}
            (Run::Live, _) => actions.push(Action::Stop(job.key)),
            (Run::Stopping { since_ms }, _) => {
                if now_ms.saturating_sub(since_ms) >= limits.stop_grace_ms {
                    actions.push(Action::Kill(job.key));
                }
            }
        }
    }
    // A job whose trainer was lost keeps its place; it starts again in the next round.
    let requeued = |job: &&JobView| actions.contains(&Action::Requeue(job.key));
    let busy: Vec<&JobView> = snapshot.jobs.iter().filter(|job| job.has_process() || requeued(job)).collect();
    actions.extend(queue::starts(snapshot, &busy, limits, now_ms));
    actions
}

/// The job of which somebody should say next what it takes, if one waits for that: as they are to start, so that an account
/// with many jobs does not keep the others from starting. What is counted and waits or runs counts for its account.
pub fn next_to_count(snapshot: &Snapshot, limits: &Limits, now_ms: i64) -> Option<i64> {
    queue::next_to_count(snapshot, limits, now_ms)
}

#[cfg(test)]
mod tests;
