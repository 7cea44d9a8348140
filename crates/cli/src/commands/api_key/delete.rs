//! `hearth api-key delete`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::config::Server;
use crate::output;

/// Take a key back; it opens nothing from then on
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth api-key delete 0123456789abcdef")]
pub struct Args {
    /// Id of the key, which `hearth api-key list` shows; not the key itself
    key_id: String,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let keys = format!("accounts/{}/apiKeys", remote.account);
        remote.client.act(&keys, "delete", &json!({ "keyId": self.key_id }))?;
        output::outcome(json, "deleted", &self.key_id)?;
        Ok(ExitCode::SUCCESS)
    }
}
