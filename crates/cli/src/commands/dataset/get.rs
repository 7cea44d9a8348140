//! `hearth dataset get`.

use std::process::ExitCode;

use anyhow::Result;
use hearth_client::qualify;

use crate::config::Server;
use crate::output;

/// Show a dataset
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth dataset get tickets")]
pub struct Args {
    /// Id or full name
    id: String,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let dataset = remote.client.get(&qualify(&remote.account, "datasets", &self.id))?;
        output::resource(json, &dataset)?;
        Ok(ExitCode::SUCCESS)
    }
}
