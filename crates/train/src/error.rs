//! What can stop a training run, and whose mistake it is.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use hearth_run::{FailureKind, RunError};

use crate::memory::Size;

/// Longest message of an event. A damaged file's values stand in some errors, however long they are, and a reader
/// of events refuses lines without end.
const MESSAGE_MAX_BYTES: usize = 16 << 10;

/// Everything that ends a run before its adapter is done. [`TrainError::failure_kind`] classifies it.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The run directory cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The file system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Settings of `job.json` cannot work.
    #[error("job.json cannot be run: {message}")]
    Setting {
        /// Which fields, and what they may be.
        message: String,
    },
    /// A benchmark was asked for what cannot be measured.
    #[error("cannot measure: {message}")]
    Benchmark {
        /// Which options, and what they may be.
        message: String,
    },
    /// The rows cannot be trained on.
    #[error("{message}")]
    Data {
        /// Files, lines, what to do. Holds no row contents.
        message: String,
    },
    /// A data file cannot be read to its end.
    #[error("cannot read {path}")]
    Dataset {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: hearth_data::Error,
    },
    /// Tokenizer or chat template cannot be used.
    #[error("cannot use {whose}")]
    Tokenizer {
        /// Which of them: the base model's, or the template that the job brings.
        whose: &'static str,
        /// Why not.
        source: hearth_data::Error,
    },
    /// The base model or an adapter cannot be loaded or written.
    #[error("cannot {action} {path}")]
    Model {
        /// What was tried.
        action: &'static str,
        /// The model directory.
        path: PathBuf,
        /// Why not.
        source: hearth_model::Error,
    },
    /// The model refuses a batch, for example for a token id that it does not know.
    #[error("the base model cannot take the rows")]
    Batch {
        /// Why not.
        source: hearth_model::Error,
    },
    /// The backend cannot run here.
    #[error("cannot start the compute backend")]
    Kernels {
        /// Why not.
        source: hearth_kernels::KernelError,
    },
    /// The run takes more memory than it may.
    #[error(
        "training on micro-batches of up to {tokens} tokens takes {needed}, and {limit} may be used; \
         lower max_context_length, the batch size or lora_rank, or give the trainer more memory"
    )]
    Memory {
        /// Of the largest micro-batch.
        tokens: usize,
        /// The least that the run takes.
        needed: Size,
        /// The most that it may take.
        limit: Size,
    },
    /// A number of the computation is NaN or infinite.
    #[error(
        "{what} is not finite at step {step}{rows}; lower learning_rate, look at these rows, or look for a damaged \
         base model"
    )]
    NonFinite {
        /// The loss or a tensor's name.
        what: String,
        /// The step that was being done.
        step: u64,
        /// Number of the micro-batch in its step, if it came from a single one.
        micro_batch: Option<usize>,
        /// The rows that were computed with, as ` (training rows: line 3, line 9)`; empty if it came from none.
        rows: String,
    },
    /// Somebody asked the trainer to stop before it had begun to train. No failure.
    #[error("asked to stop")]
    Stopped,
    /// A checkpoint does not hold what its format says.
    #[error("checkpoint {path} is damaged: {message}")]
    Damaged {
        /// Directory of the checkpoint.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A whole checkpoint belongs to another run than `job.json` describes.
    #[error("checkpoint {path} was made with {what}; restore it, or remove the checkpoints to start again")]
    OtherRun {
        /// Directory of the checkpoint.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// A defect of this program; the panic's own message is in the log.
    #[error("the trainer met a defect of its own; its log says where")]
    Panicked,
    /// The prompts of the adapter would not be those that are trained.
    #[error("the adapter would not be asked as it is trained: {message}")]
    Prompt {
        /// Which row. Holds nothing of it.
        message: String,
    },
    /// The finished adapter did not pass the checks that precede `finished`.
    #[error("the adapter failed its last check: {message}")]
    Gate {
        /// Which check.
        message: String,
    },
}

impl TrainError {
    /// Whose mistake it is, for the `failed` event.
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Run(RunError::Io { source, .. }) | Self::Io { source, .. } => io_kind(source),
            Self::Run(RunError::Format { .. } | RunError::Version { .. }) => FailureKind::InvalidSetting,
            Self::Run(RunError::Ledger { .. }) | Self::Damaged { .. } => FailureKind::Damaged,
            Self::Run(RunError::Locked { .. }) => FailureKind::Internal,
            Self::Setting { .. }
            | Self::Benchmark { .. }
            | Self::Tokenizer { .. }
            | Self::OtherRun { .. } => FailureKind::InvalidSetting,
            Self::Model { source: hearth_model::Error::Io { source, .. }, .. }
                if io_kind(source) == FailureKind::OutOfResources =>
            {
                FailureKind::OutOfResources
            }
            Self::Model { source: hearth_model::Error::NotFinite { .. }, .. } => FailureKind::NonFinite,
            Self::Model { .. } | Self::Batch { .. } | Self::Kernels { .. } => FailureKind::InvalidSetting,
            Self::Data { .. } | Self::Dataset { .. } => FailureKind::InvalidData,
            Self::Memory { .. } => FailureKind::OutOfResources,
            Self::NonFinite { .. } => FailureKind::NonFinite,
            Self::Prompt { .. } | Self::Gate { .. } | Self::Panicked | Self::Stopped => FailureKind::Internal,
        }
    }

    /// The message and those of its sources, joined by colons.
    pub fn full_message(&self) -> String {
        let mut message = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            message.push_str(": ");
            message.push_str(&error.to_string());
            source = error.source();
        }
        message.truncate(message.floor_char_boundary(MESSAGE_MAX_BYTES));
        message
    }
}

/// Full or exhausted machines are not defects of this program.
fn io_kind(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::FileTooLarge
        | io::ErrorKind::OutOfMemory => FailureKind::OutOfResources,
        _ => FailureKind::Internal,
    }
}

/// For `map_err` on file operations.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TrainError {
    move |source| TrainError::Io { action, path: path.to_owned(), source }
}
