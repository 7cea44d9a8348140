//! `hearth user delete`.

use std::process::ExitCode;

use anyhow::Result;
use hearth_client::qualify;

use super::COLLECTION;
use crate::config::Server;
use crate::output;

/// Delete a user with all keys of theirs (needs an admin's key)
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth user delete ada")]
pub struct Args {
    /// Id or full name
    id: String,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let name = qualify(&remote.account, COLLECTION, &self.id);
        remote.client.delete(&name)?;
        output::outcome(json, "deleted", &name)?;
        Ok(ExitCode::SUCCESS)
    }
}
