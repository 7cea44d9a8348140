//! `hearth model pull`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::catalogue;
use crate::config::{BASE_MODEL_ACCOUNT, DataDir};
use crate::output;

/// Get a model of the catalogue and install it in the data directory
///
/// Needs no server; a running server finds the model by itself. Models: smollm2-135m-instruct (Apache-2.0,
/// 98 MB).
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth model pull smollm2-135m-instruct")]
pub struct Args {
    /// Id in the catalogue
    id: String,
    #[command(flatten)]
    data_dir: DataDir,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let entry = catalogue::find(&self.id)?;
        let new = catalogue::pull(entry, &self.data_dir.path()?)?;
        let name = format!("accounts/{BASE_MODEL_ACCOUNT}/models/{}", entry.id);
        if json {
            output::json(&json!({ "name": name, "installed": new, "licence": entry.licence }))?;
        } else if new {
            output::line(&format!("installed {name} (licence {})", entry.licence))?;
        } else {
            output::line(&format!("{name} is installed already"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
