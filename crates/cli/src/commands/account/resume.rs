//! `hearth account resume`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::config::Server;
use crate::output;

/// End the suspension of an account; jobs that it paused go on (needs an administrator's key)
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth account resume research")]
pub struct Args {
    /// Id
    id: String,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let name = format!("accounts/{}", self.id);
        output::resource(json, &self.server.client()?.act(&name, "unsuspend", &json!({}))?)?;
        Ok(ExitCode::SUCCESS)
    }
}
