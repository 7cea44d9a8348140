//! `hearth dataset delete`.

use std::process::ExitCode;

use anyhow::Result;
use hearth_client::qualify;

use crate::config::Server;
use crate::output;

/// Delete a dataset and its rows
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth dataset delete tickets")]
pub struct Args {
    /// Id or full name
    id: String,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let name = qualify(&remote.account, "datasets", &self.id);
        remote.client.delete(&name)?;
        output::outcome(json, "deleted", &name)?;
        Ok(ExitCode::SUCCESS)
    }
}
