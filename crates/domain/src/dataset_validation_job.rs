//! Checks of datasets that run in the background.

use serde::{Deserialize, Serialize};

use crate::code::Status;
use crate::id::{AccountId, DatasetRef, DatasetValidationJobId, ModelRef};

/// What the rows have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetValidationFormat {
    /// Conversations that can be trained on.
    Chat,
    /// Rows that can be trained on, whatever their format.
    Training,
    /// Conversations that could be trained on if an answer followed.
    ChatRelaxed,
    /// Chat requests that end with something to answer.
    BatchInferenceStrict,
    /// Chat requests.
    BatchInferenceAllowTrailingAssistant,
    /// Chat requests; the same as [`Self::BatchInferenceAllowTrailingAssistant`].
    BatchInference,
}

/// Where a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetValidationState {
    /// Waits for its turn.
    Pending,
    /// Rows are being read. A server that finds it like this when it starts begins again.
    Running,
    /// Every row was read; the result says what came of it.
    Completed,
    /// Not every row could be read; the status says why.
    Failed,
}

impl DatasetValidationState {
    /// Nothing happens any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetValidationResult {
    /// Every row is as it should be.
    Success,
    /// Some are not.
    Failure,
}

/// Something wrong or remarkable in a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetFinding {
    /// Name of the file.
    pub file: String,
    /// Line of it, from 1; 0 when it concerns the file as a whole.
    pub line: u64,
    /// JSON pointer to the value at fault; empty for the whole row.
    pub pointer: String,
    /// What kind of thing it is.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// What a dataset is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetReport {
    /// Which.
    pub dataset: DatasetRef,
    /// Rows, good and bad.
    pub rows: u64,
    /// The first errors.
    pub errors: Vec<DatasetFinding>,
    /// All errors.
    pub error_count: u64,
    /// The first warnings.
    pub warnings: Vec<DatasetFinding>,
    /// All warnings.
    pub warning_count: u64,
    /// Numbers; an object.
    pub statistics: serde_json::Value,
    /// What the lists leave out; empty if they are whole.
    #[serde(default)]
    pub note: String,
}

/// A check of the rows of datasets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetValidationJob {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: DatasetValidationJobId,
    /// For people.
    pub display_name: String,
    /// What is checked.
    pub datasets: Vec<DatasetRef>,
    /// Whether the client named one dataset as such and not as a list.
    pub is_single: bool,
    /// What the rows have to be.
    pub format: DatasetValidationFormat,
    /// Base whose template and tokenizer rows are tried and counted with.
    #[serde(default)]
    pub base_model: Option<ModelRef>,
    /// Where it stands.
    pub state: DatasetValidationState,
    /// Why it failed, or OK.
    pub status: Status,
    /// What came of it; `None` until it is complete.
    pub result: Option<DatasetValidationResult>,
    /// The first bad rows with lines and fields, one on a line; empty if there are none.
    pub validation_error: String,
    /// What each dataset is like; empty for rows that are not trained on.
    #[serde(default)]
    pub reports: Vec<DatasetReport>,
    /// Email of who made it.
    pub created_by: String,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

impl DatasetValidationJob {
    /// Most datasets of one check.
    pub const DATASETS_MAX: usize = 20;

    /// `accounts/{account}/datasetValidationJobs/{job}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/datasetValidationJobs/{}", self.account, self.id)
    }
}
