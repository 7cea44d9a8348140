//! `hearth api-key create`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::config::Server;
use crate::output;

/// Create a key that opens an account; it is shown once
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth api-key create --account research --email ada@example.org")]
pub struct Args {
    /// Whose key it is
    #[arg(long, value_name = "EMAIL")]
    email: String,
    /// Name for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    display_name: String,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let key = remote.client.create(
            &format!("accounts/{}/apiKeys", remote.account),
            &[],
            &json!({ "apiKey": { "email": self.email, "displayName": self.display_name } }),
        )?;
        output::resource(json, &key)?;
        if !json {
            output::line("The key is not shown again. Use it with: export HEARTH_API_KEY=...")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
