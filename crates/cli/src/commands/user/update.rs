//! `hearth user update`.

use std::process::ExitCode;

use anyhow::Result;
use hearth_client::qualify;
use serde_json::json;

use super::COLLECTION;
use crate::config::Server;
use crate::output;

/// Give a user another role (needs an admin's key); the user's keys follow at once
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth user update ada --role admin")]
pub struct Args {
    /// Id or full name
    id: String,
    /// What the user's keys may do: admin, user, read-only or inference-user
    #[arg(long, value_name = "ROLE")]
    role: String,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let name = qualify(&remote.account, COLLECTION, &self.id);
        let user = remote.client.update(&name, &json!({ "role": self.role }))?;
        output::resource(json, &user)?;
        Ok(ExitCode::SUCCESS)
    }
}
