//! Which job runs next: a pure function from what is to what to do.
//!
//! The server calls [`schedule`] again and again, carries out the actions, and looks again. Nothing is remembered
//! between two calls besides what stands in the snapshot, so a server that dies and starts again goes on.

use crate::id::{AccountId, JobId};
use crate::state::JobState;

/// Times that a trainer may be lost in a row without a new step before the job fails.
pub const LOSSES_WITHOUT_PROGRESS_MAX: u32 = 5;

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Trainers that may live at once.
    pub capacity: usize,
    /// Time between asking a trainer to stop and killing it. A trainer ends its step and writes a checkpoint first.
    pub stop_grace_ms: i64,
}

impl Default for Limits {
    /// One trainer, which takes the whole machine, and twenty seconds.
    fn default() -> Self {
        Self { capacity: 1, stop_grace_ms: 20_000 }
    }
}

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
    /// Losses in a row without a new step.
    pub losses_without_progress: u32,
    /// Its trainer.
    pub run: Run,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Write the run directory, if it is not there, and start a trainer; the job becomes VALIDATING.
    Start(i64),
    /// The trainer is gone; the job becomes RE_QUEUEING.
    Requeue(i64),
    /// The trainer is gone once too often; the job becomes FAILED.
    GiveUp(i64),
    /// Ask the trainer to stop.
    Stop(i64),
    /// Kill the trainer.
    Kill(i64),
    /// Remove the run directory and the row of a deleted job.
    Remove(i64),
}

/// The actions that the snapshot calls for. At most `capacity` trainers live at once, the oldest job first.
///
/// Carrying the actions out and calling again with the new snapshot gives none of them again.
pub fn schedule(jobs: &[JobView], limits: Limits, now_ms: i64) -> Vec<Action> {
    let mut actions = Vec::new();
    for job in jobs {
        match (job.run, job.state) {
            (Run::Gone, JobState::Deleting) => actions.push(Action::Remove(job.key)),
            (Run::Gone, state) if state.is_active() => {
                actions.push(if job.losses_without_progress < LOSSES_WITHOUT_PROGRESS_MAX {
                    Action::Requeue(job.key)
                } else {
                    Action::GiveUp(job.key)
                });
            }
            (Run::Gone, _) => {}
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
    let requeued = actions.iter().filter(|action| matches!(action, Action::Requeue(_))).count();
    let busy = requeued + jobs.iter().filter(|job| job.run != Run::Gone).count();
    let mut waiting: Vec<&JobView> = jobs
        .iter()
        .filter(|job| job.state.is_waiting() && job.run == Run::Gone && !is_blocked(job, jobs))
        .collect();
    waiting.sort_by_key(|job| (job.create_time_ms, job.key));
    actions
        .extend(waiting.iter().take(limits.capacity.saturating_sub(busy)).map(|job| Action::Start(job.key)));
    actions
}

/// A deleted job of the same name still has its run directory.
fn is_blocked(job: &JobView, jobs: &[JobView]) -> bool {
    jobs.iter().any(|other| {
        other.key != job.key
            && other.state == JobState::Deleting
            && other.account == job.account
            && other.id == job.id
    })
}
