//! The states of a job, what may happen to it, and the one table of changes between states.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::code::Status;

/// Where a job stands. The API's words, without their prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// Waits for its turn.
    Pending,
    /// The rows are fetched from where the user keeps them; then the job waits for a trainer.
    CreatingInputDataset,
    /// A trainer reads and checks the rows.
    Validating,
    /// A trainer trains.
    Running,
    /// A trainer writes and checks the adapter.
    WritingResults,
    /// The adapter is a model now.
    Completed,
    /// Training ended before its last step, because the evaluation loss fell no more. The best adapter is a model now.
    EarlyStopped,
    /// It came to a bad end; the status says why.
    Failed,
    /// The user stopped it.
    Cancelled,
    /// It waited longer for a trainer than the operator lets a job wait.
    Expired,
    /// It was told to rest: by the user, by the operator, or because its account is suspended.
    Paused,
    /// The trainer died; another one will go on from the last checkpoint.
    ReQueueing,
    /// Hidden from the API; its run is being stopped and removed.
    Deleting,
}

impl JobState {
    /// Every state.
    pub const ALL: &[JobState] = &[
        Self::Pending,
        Self::CreatingInputDataset,
        Self::Validating,
        Self::Running,
        Self::WritingResults,
        Self::Completed,
        Self::EarlyStopped,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Paused,
        Self::ReQueueing,
        Self::Deleting,
    ];

    /// Name, as the API has it after `JOB_STATE_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::CreatingInputDataset => "CREATING_INPUT_DATASET",
            Self::Validating => "VALIDATING",
            Self::Running => "RUNNING",
            Self::WritingResults => "WRITING_RESULTS",
            Self::Completed => "COMPLETED",
            Self::EarlyStopped => "EARLY_STOPPED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
            Self::Paused => "PAUSED",
            Self::ReQueueing => "RE_QUEUEING",
            Self::Deleting => "DELETING",
        }
    }

    /// The state that clients see whose enum ends at 19 (fireworks-ai 0.19 over gRPC): a paused job
    /// waits, and one that stopped early is completed.
    pub fn for_old_clients(self) -> Self {
        match self {
            Self::Paused => Self::Pending,
            Self::EarlyStopped => Self::Completed,
            other => other,
        }
    }

    /// A process should be alive: a trainer, or what fetches the rows.
    pub fn is_active(self) -> bool {
        matches!(self, Self::CreatingInputDataset | Self::Validating | Self::Running | Self::WritingResults)
    }

    /// Waits for a trainer.
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Pending | Self::ReQueueing)
    }

    /// Nothing happens any more unless a user asks for it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::EarlyStopped | Self::Failed | Self::Cancelled | Self::Expired)
    }

    /// The job made its model.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Completed | Self::EarlyStopped)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happens to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEvent {
    /// What fetches the rows is started.
    Fetch,
    /// The rows are here.
    Fetched,
    /// A trainer is started.
    Start,
    /// The rows are read and packed.
    Validate,
    /// Training is over, results are being written.
    Write,
    /// The adapter is installed as a model.
    Finish,
    /// The same, of a run that stopped early.
    FinishEarly,
    /// It cannot go on.
    Fail(Status),
    /// The trainer is gone without a word.
    Lose,
    /// It waited too long for a trainer.
    Expire(Status),
    /// The user lets it rest.
    Pause,
    /// The trainer was asked to stop from outside.
    Interrupt,
    /// Its account is suspended.
    Suspend,
    /// Its account is suspended no more; only for what [`JobEvent::Suspend`] stopped.
    Unsuspend,
    /// The user stops it.
    Cancel,
    /// The user lets it go on.
    Resume,
    /// The user removes it.
    Delete,
}

impl JobEvent {
    /// Name in the job's event log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Fetched => "fetched",
            Self::Start => "start",
            Self::Validate => "validate",
            Self::Write => "write",
            Self::Finish => "finish",
            Self::FinishEarly => "finish_early",
            Self::Fail(_) => "fail",
            Self::Lose => "lose",
            Self::Expire(_) => "expire",
            Self::Pause => "pause",
            Self::Interrupt => "interrupt",
            Self::Suspend => "suspend",
            Self::Unsuspend => "unsuspend",
            Self::Cancel => "cancel",
            Self::Resume => "resume",
            Self::Delete => "delete",
        }
    }
}

/// What a user may ask of a job that is there, besides deleting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Let it rest.
    Pause,
    /// Let it go on.
    Resume,
    /// Stop it.
    Cancel,
}

impl Wish {
    /// What happens to the job if it is granted.
    pub fn event(self) -> JobEvent {
        match self {
            Self::Pause => JobEvent::Pause,
            Self::Resume => JobEvent::Resume,
            Self::Cancel => JobEvent::Cancel,
        }
    }
}

/// A change that the table does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job in state {state} cannot {event}{}", advice(*.state, .event))]
pub struct TransitionError {
    /// Where the job stands.
    pub state: JobState,
    /// What was to happen, a name of [`JobEvent`].
    pub event: &'static str,
}

/// What a user should know about a wish that is not granted.
fn advice(state: JobState, event: &str) -> &'static str {
    match event {
        "resume" if !state.is_final() => ": it goes on by itself",
        "resume" => ": it did all it was to do; make a new job to train again",
        "pause" | "cancel" if state.is_final() => ": it came to its end already",
        _ => "",
    }
}

/// The table: the state after `event`, or an error if it cannot happen in `state`.
pub fn transition(state: JobState, event: &JobEvent) -> Result<JobState, TransitionError> {
    use JobState::*;
    let next = match (event, state) {
        (JobEvent::Fetch, Pending | ReQueueing) => CreatingInputDataset,
        (JobEvent::Fetched, CreatingInputDataset) => Pending,
        (JobEvent::Start, Pending | ReQueueing) => Validating,
        (JobEvent::Validate, Validating) => Running,
        (JobEvent::Write, Running) => WritingResults,
        (JobEvent::Finish, WritingResults) => Completed,
        (JobEvent::FinishEarly, WritingResults) => EarlyStopped,
        (
            JobEvent::Fail(_),
            Pending | ReQueueing | CreatingInputDataset | Validating | Running | WritingResults,
        ) => Failed,
        (JobEvent::Lose, CreatingInputDataset | Validating | Running | WritingResults) => ReQueueing,
        (JobEvent::Expire(_), Pending | ReQueueing) => Expired,
        // A user's pause outlasts the end of a suspension.
        (
            JobEvent::Pause,
            Pending | ReQueueing | CreatingInputDataset | Validating | Running | WritingResults | Paused,
        ) => Paused,
        (JobEvent::Interrupt, CreatingInputDataset | Validating | Running | WritingResults) => Paused,
        (
            JobEvent::Suspend,
            Pending | ReQueueing | CreatingInputDataset | Validating | Running | WritingResults,
        ) => Paused,
        (JobEvent::Unsuspend, Paused) => Pending,
        (
            JobEvent::Cancel,
            Pending | ReQueueing | CreatingInputDataset | Validating | Running | WritingResults | Paused,
        ) => Cancelled,
        (JobEvent::Resume, Paused | Failed | Cancelled | Expired) => Pending,
        (
            JobEvent::Delete,
            Pending | ReQueueing | CreatingInputDataset | Validating | Running | WritingResults | Paused
            | Completed | EarlyStopped | Failed | Cancelled | Expired,
        ) => Deleting,
        _ => return Err(TransitionError { state, event: event.name() }),
    };
    Ok(next)
}
