//! `hearth account create`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::config::Server;
use crate::output;

/// Create an account (needs an administrator's key)
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth account create research --display-name 'Research group'")]
pub struct Args {
    /// Id: 1 to 63 of a-z, 0-9 and '-', beginning with a letter
    id: String,
    /// Name for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    display_name: String,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let client = self.server.client()?;
        let account = client.create(
            "accounts",
            &[("accountId", &self.id)],
            &json!({ "displayName": self.display_name }),
        )?;
        output::resource(json, &account)?;
        Ok(ExitCode::SUCCESS)
    }
}
