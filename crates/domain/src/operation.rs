//! Long-running operations: work that goes on after the call that began it has returned.

use serde::{Deserialize, Serialize};

use crate::code::Status;
use crate::id::{AccountId, JobId, ModelId, OperationId};
use crate::record::Model;

/// Ended operations are remembered for so long, in milliseconds.
pub const ENDED_LIFE_MS: i64 = 30 * 24 * 3600 * 1000;

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: OperationId,
    /// What is to be done.
    pub work: OperationWork,
    /// How it ended; `None` while it goes on.
    pub end: Option<OperationEnd>,
    /// Email of who began it.
    pub created_by: String,
    /// When it was begun.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OperationWork {
    /// Makes a model of a job's checkpoint.
    Promote(Promotion),
}

/// Which checkpoint becomes which model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// The job, in the operation's account.
    pub job: JobId,
    /// Key of the job's row: another job of its name is not meant.
    pub job_key: i64,
    /// Id of the checkpoint.
    pub checkpoint: String,
    /// The model, in the operation's account.
    pub output_model: ModelId,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationEnd {
    /// It made this model.
    Made(Box<Model>),
    /// It made nothing.
    Failed(Status),
}

impl Operation {
    /// `accounts/{account}/operations/{operation}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/operations/{}", self.account, self.id)
    }

    /// Whether it ended so long ago that nobody asks for it any more.
    pub fn is_forgotten(&self, now_ms: i64) -> bool {
        self.end.is_some() && now_ms.saturating_sub(self.update_time_ms) > ENDED_LIFE_MS
    }
}
