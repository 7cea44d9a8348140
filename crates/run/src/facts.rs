//! `hearth.json`: what PEFT's own files have no place for.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::dir::io_error;
use crate::ledger::{self, Header, LEDGER_FILE};
use crate::{RunDir, RunError};

/// Name of the file, beside an adapter. Loaders of adapters do not look at it; of `adapter_config.json` some refuse keys
/// that they do not know.
pub const FACTS_FILE: &str = "hearth.json";

/// What an adapter was made of and with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// [`Facts::VERSION`].
    pub version: u32,
    /// Name and version of the program that trained.
    pub engine: String,
    /// SHA-256 of `chat_template.jinja`, if there is one. Another template there is not the one that was trained with.
    pub chat_template_sha256: Option<String>,
    /// SHA-256 of the base's configuration and weights.
    pub base_sha256: String,
    /// SHA-256 of the base's `tokenizer.json`, if it has one.
    #[serde(default)]
    pub tokenizer_sha256: Option<String>,
    /// SHA-256 of the base's `tokenizer_config.json`, if it has one.
    #[serde(default)]
    pub tokenizer_config_sha256: Option<String>,
    /// SHA-256 of the lines of the ledger.
    pub ledger_sha256: String,
    /// Optimiser steps behind the adapter; none in a run directory, where it stands for all adapters of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
}

impl Facts {
    /// Version of this format.
    pub const VERSION: u32 = 1;

    /// Those in a directory; `None` if there are none.
    ///
    /// # Errors
    /// [`RunError::Io`] if they cannot be read, and [`RunError::Format`] if they are no facts.
    pub fn read(dir: &Path) -> Result<Option<Self>, RunError> {
        let path = dir.join(FACTS_FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(io_error("read", &path))?,
        };
        match serde_json::from_slice(&text) {
            Ok(facts) => Ok(Some(facts)),
            Err(source) => Err(RunError::Format { path, what: FACTS_FILE, source }),
        }
    }
}

/// Writes the ledger and the facts of the adapter of a step into its directory, made of those of its run. Returns the
/// header and the SHA-256 of the ledger; `None` for a run of a build that wrote none.
///
/// # Errors
/// Those of reading the run's and of writing the adapter's.
pub fn write_with_adapter(
    run: &RunDir,
    step: u64,
    adapter: &Path,
) -> Result<Option<(Header, String)>, RunError> {
    let Some(facts) = Facts::read(&run.serving_path())? else { return Ok(None) };
    let (header, sha256) = ledger::write_of_step(&run.ledger_path(), &adapter.join(LEDGER_FILE), step)?;
    let facts = Facts { step: Some(step), ledger_sha256: sha256.clone(), ..facts };
    let text = serde_json::to_vec_pretty(&facts).expect("facts are plain data");
    let path = adapter.join(FACTS_FILE);
    fs::write(&path, text).map_err(io_error("write", &path))?;
    Ok(Some((header, sha256)))
}
