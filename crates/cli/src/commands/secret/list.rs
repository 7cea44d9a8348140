//! `hearth secret list`.

use std::process::ExitCode;

use anyhow::Result;

use super::COLLECTION;
use crate::config::Server;
use crate::output;

/// List secrets, without their values
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth secret list")]
pub struct Args {
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let items = remote.client.list(&format!("accounts/{}", remote.account), COLLECTION)?;
        output::list(json, &items, &[("NAME", "name"), ("KEY NAME", "keyName")])?;
        Ok(ExitCode::SUCCESS)
    }
}
