//! `hearth dataset create`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use hearth_client::{Client, qualify};

use crate::config::Server;
use crate::output;

/// Create a dataset from a file
///
/// The file holds one JSON object a line: {"messages": [{"role": "user", "content": "..."}, {"role":
/// "assistant", "content": "..."}]} or {"prompt": "...", "completion": "..."}. If the upload breaks off, the
/// same command repeats it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth dataset create tickets rows.jsonl")]
pub struct Args {
    /// Id: 1 to 63 of a-z, 0-9 and '-', beginning with a letter
    id: String,
    /// Rows, as JSON lines
    file: PathBuf,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let file = std::fs::File::open(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        drop(file);
        let remote = self.server.connect()?;
        let name = qualify(&remote.account, "datasets", &self.id);
        match remote.client.dataset_create(&remote.account, &self.id) {
            Ok(_) => {}
            Err(error) if error.code() == Some("ALREADY_EXISTS") && is_uploading(&remote.client, &name) => {}
            Err(error) => return Err(error.into()),
        }
        remote
            .client
            .dataset_upload_file(&name, &self.file)
            .with_context(|| format!("cannot upload {} to {name}", self.file.display()))?;
        output::resource(json, &remote.client.get(&name)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether the dataset still waits for its rows.
fn is_uploading(client: &Client, name: &str) -> bool {
    client.get(name).is_ok_and(|dataset| dataset["state"] == "UPLOADING")
}
