//! `hearth.json`: what PEFT's own files have no place for.

use serde::{Deserialize, Serialize};

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
    /// SHA-256 of the lines of the ledger.
    pub ledger_sha256: String,
}

impl Facts {
    /// Version of this format.
    pub const VERSION: u32 = 1;
}
