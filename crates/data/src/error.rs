//! What can go wrong, and where.

use std::path::PathBuf;

use crate::finding::BadRow;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of a model directory cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The dataset's bytes cannot be read.
    #[error("cannot read the dataset")]
    Read(#[source] std::io::Error),
    /// The corrected file cannot be written.
    #[error("cannot write the corrected file")]
    Write(#[source] std::io::Error),
    /// A row is not acceptable.
    #[error(transparent)]
    Row(#[from] BadRow),
    /// A tokenizer file, or text for it, is not usable.
    #[error("tokenizer: {message}")]
    Tokenizer {
        /// What is wrong.
        message: String,
        /// The library's own error.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The chat template is not usable, or refused this conversation.
    #[error("chat template{}: {message}", line.map(|n| format!(", line {n}")).unwrap_or_default())]
    Template {
        /// What is wrong.
        message: String,
        /// Line of the template, from 1.
        line: Option<usize>,
    },
}

impl Error {
    pub(crate) fn tokenizer(message: impl Into<String>) -> Self {
        Error::Tokenizer { message: message.into(), source: None }
    }

    pub(crate) fn tokenizer_from(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error::Tokenizer { message: message.into(), source: Some(source.into()) }
    }
}
