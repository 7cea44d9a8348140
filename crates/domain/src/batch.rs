//! Batch inference: a model answers every row of a dataset.

use serde::{Deserialize, Serialize};

use crate::code::Status;
use crate::id::{AccountId, BatchInferenceJobId, DatasetRef, ModelRef};

/// Where a batch inference job stands. The names are those of the API without `JOB_STATE_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BatchState {
    /// Waits for its turn.
    Pending,
    /// Rows are being answered.
    Running,
    /// All rows are answered; the output dataset is being made.
    WritingResults,
    /// The output dataset is there.
    Completed,
    /// It cannot go on; the status says why.
    Failed,
}

impl BatchState {
    /// Nothing will happen to it any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// What requests have in common unless a row says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchParameters {
    /// Most tokens of an answer.
    pub max_tokens: Option<i32>,
    /// Sampling temperature.
    pub temperature: Option<f32>,
    /// Nucleus sampling.
    pub top_p: Option<f32>,
    /// Answers to each row.
    pub n: Option<i32>,
    /// Most tokens to draw from.
    pub top_k: Option<i32>,
    /// A JSON object of further request fields; empty for none.
    pub extra_body: String,
}

/// How far a batch inference job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchProgress {
    /// Rows of the input.
    pub total: u64,
    /// Rows that have an answer.
    pub succeeded: u64,
    /// Rows that have an error instead.
    pub failed: u64,
    /// Tokens of all prompts.
    pub input_tokens: u64,
    /// Tokens of all answers.
    pub output_tokens: u64,
}

impl BatchProgress {
    /// Rows that are done.
    pub fn processed(&self) -> u64 {
        self.succeeded + self.failed
    }

    /// Share of the rows that are done, 0 to 100, rounded down.
    pub fn percent(&self) -> u32 {
        (self.processed().min(self.total) * 100).checked_div(self.total).unwrap_or(0) as u32
    }
}

/// A batch inference job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchInferenceJob {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: BatchInferenceJobId,
    /// For people.
    pub display_name: String,
    /// Who answers.
    pub model: ModelRef,
    /// The rows.
    pub input: DatasetRef,
    /// The dataset that it makes.
    pub output: DatasetRef,
    /// What its requests have in common.
    pub parameters: BatchParameters,
    /// Resource name of the job whose answers are taken over; empty for none.
    pub continued_from: String,
    /// Where it stands.
    pub state: BatchState,
    /// Why it failed, or OK.
    pub status: Status,
    /// How far it is.
    pub progress: BatchProgress,
    /// Email of who made it.
    pub created_by: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

impl BatchInferenceJob {
    /// `accounts/{account}/batchInferenceJobs/{job}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/batchInferenceJobs/{}", self.account, self.id)
    }
}
