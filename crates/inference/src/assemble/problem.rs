//! What keeps a model from being used: file, tensor, reason.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use hearth_model::{ADAPTER_CONFIG_FILE, Error, GGUF_FILE, INDEX_FILE, SINGLE_FILE};
use serde_json::Value;

use super::CONFIG_FILE;

/// Most characters of a reason.
const MESSAGE_MAX_CHARS: usize = 400;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the file; empty if it is about all of them.
    pub file: String,
    /// Name of the tensor in it.
    pub tensor: Option<String>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}: ", self.file)?;
        }
        if let Some(tensor) = &self.tensor {
            write!(f, "tensor {tensor}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Problem {
    pub(super) fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), tensor: None, message: cut(message.into()) }
    }

    pub(super) fn of_all(message: impl Into<String>) -> Self {
        Self::of_file("", message)
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MESSAGE_MAX_CHARS) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// Which file of a directory holds which tensor.
pub(super) struct TensorFiles {
    of_index: BTreeMap<String, String>,
    /// Of what the index does not know.
    other: String,
}

impl TensorFiles {
    /// Of a base's directory.
    pub(super) fn of_base(dir: &Path) -> Self {
        if dir.join(GGUF_FILE).exists() {
            return Self::only(GGUF_FILE);
        }
        let index = fs::read(dir.join(INDEX_FILE)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let Some(index): Option<Value> = index else { return Self::only(SINGLE_FILE) };
        let of_index = index["weight_map"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(tensor, file)| Some((tensor.clone(), file.as_str()?.to_owned())))
            .collect();
        Self { of_index, other: INDEX_FILE.to_owned() }
    }

    /// One file for all.
    pub(super) fn only(file: &str) -> Self {
        Self { of_index: BTreeMap::new(), other: file.to_owned() }
    }

    /// An error of the model's files in this form.
    pub(super) fn problem(&self, error: &Error) -> Problem {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (file, tensor, message) = match error {
            Error::Io { action, path, source } => (name(path), None, format!("cannot {action} it: {source}")),
            Error::Json { path, source } => (name(path), None, format!("is not valid JSON: {source}")),
            Error::Config { field, reason } => (CONFIG_FILE.to_owned(), None, format!("{field}: {reason}")),
            Error::Adapter { field, reason } => {
                (ADAPTER_CONFIG_FILE.to_owned(), None, format!("{field}: {reason}"))
            }
            Error::Gguf(reason) => (self.other.clone(), None, reason.clone()),
            Error::Safetensors { path, reason } => (name(path), None, reason.clone()),
            Error::Directory { reason, .. } => (String::new(), None, reason.clone()),
            Error::Tensor { name, reason } => (self.file_of(name), Some(name.clone()), reason.clone()),
            Error::NotFinite { name, row, column } => {
                let what = format!("the number at [{row}, {column}] is not finite");
                (self.file_of(name), Some(name.clone()), what)
            }
            Error::Input(reason) => (String::new(), None, reason.clone()),
        };
        Problem { file, tensor: tensor.map(cut), message: cut(message) }
    }

    fn file_of(&self, tensor: &str) -> String {
        self.of_index.get(tensor).unwrap_or(&self.other).clone()
    }
}
