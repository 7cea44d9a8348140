//! The one error type of this crate.

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::map::open_regular;

/// What can go wrong with a model's files or with what is asked of a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: "read", "write", "map".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is not the JSON that it should be.
    #[error("{} is not valid JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A field of `config.json` is missing, malformed or asks for something that is not supported.
    #[error("config.json: {field}: {}", clip(reason))]
    Config {
        /// Path of the field, for example `rope_scaling.rope_type`.
        field: String,
        /// What is wrong, with the value.
        reason: String,
    },
    /// A GGUF file is damaged or uses something that is not supported.
    #[error("gguf: {}", clip(.0))]
    Gguf(String),
    /// A safetensors file is damaged or uses something that is not supported.
    #[error("{}: {}", path.display(), clip(reason))]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A model directory lacks its weights, or holds them twice.
    #[error("model directory {}: {reason}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// One tensor is missing, has the wrong shape, or is not known to the architecture.
    #[error("tensor {}: {}", clip(name), clip(reason))]
    Tensor {
        /// Name in the file's own convention, or the Hugging Face name when it is missing.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A number of a tensor is NaN or infinite, or the scale of a block of numbers is.
    #[error("tensor {name}: the number at [{row}, {column}] is not finite")]
    NotFinite {
        /// Name in the file's own convention.
        name: String,
        /// Of a matrix `[N, K]`; 0 for a vector.
        row: usize,
        /// Of the number, or of the first one of its block.
        column: usize,
    },
    /// An adapter's configuration asks for something that is not supported, or is malformed.
    #[error("adapter_config.json: {field}: {}", clip(reason))]
    Adapter {
        /// Name of the field.
        field: String,
        /// What is wrong, with the value.
        reason: String,
    },
    /// Tokens, positions, segments or caches of a call do not fit the model or one another.
    #[error("model input: {0}")]
    Input(String),
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn config(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { field: field.into(), reason: reason.into() }
    }

    pub(crate) fn adapter(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Adapter { field: field.into(), reason: reason.into() }
    }

    pub(crate) fn tensor(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), reason: reason.into() }
    }
}

/// Reads a JSON file of at most [`MAX_JSON_BYTES`].
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value> {
    let file = open_regular(path)?;
    let size = file.metadata().map_err(|e| Error::io("read", path, e))?.len();
    if size > MAX_JSON_BYTES {
        let reason = format!("{size} bytes is more than a JSON file may have here ({MAX_JSON_BYTES})");
        return Err(Error::io("read", path, io::Error::new(io::ErrorKind::InvalidData, reason)));
    }
    let mut text = Vec::new();
    file.take(size).read_to_end(&mut text).map_err(|e| Error::io("read", path, e))?;
    serde_json::from_slice(&text).map_err(|source| Error::Json { path: path.to_owned(), source })
}

/// Largest configuration or index file that is read. In memory, JSON can take forty times as much.
const MAX_JSON_BYTES: u64 = 16 << 20;
/// Most of a file's own text that an error repeats, in bytes.
const MAX_TEXT_BYTES: usize = 1000;

/// A text, cut where it is too long to be read.
fn clip(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT_BYTES {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    Cow::Owned(format!("{}... ({} bytes)", &text[..end], text.len()))
}
