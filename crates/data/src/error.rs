//! What can go wrong, and where.

use std::fmt;
use std::path::PathBuf;

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
    /// A row is not acceptable.
    #[error(transparent)]
    Row(#[from] RowError),
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

/// What is wrong with one row. The text never quotes the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Line of the file, from 1; 0 when the error concerns the file as a whole.
    pub line: u64,
    /// JSON pointer (RFC 6901) to the value at fault; empty for the whole row.
    pub pointer: String,
    /// What is wrong and what to do, in lower case, no full stop.
    pub message: String,
}

impl RowError {
    pub(crate) fn new(line: u64, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        RowError { line, pointer: pointer.into(), message: message.into() }
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.pointer.is_empty()) {
            (0, _) => f.write_str(&self.message),
            (line, true) => write!(f, "line {line}: {}", self.message),
            (line, false) => write!(f, "line {line}, {}: {}", self.pointer, self.message),
        }
    }
}

impl std::error::Error for RowError {}
