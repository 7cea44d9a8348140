//! `hearth api-key list`.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::Server;
use crate::output;

/// List keys, without their secrets: your own, or as an admin those of the account
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth api-key list")]
pub struct Args {
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let items = remote.client.list(&format!("accounts/{}", remote.account), "apiKeys")?;
        let fields = [
            ("KEY ID", "keyId"),
            ("BEGINS", "prefix"),
            ("EMAIL", "email"),
            ("NAME", "displayName"),
            ("CREATED", "createTime"),
            ("EXPIRES", "expireTime"),
        ];
        output::list(json, &items, &fields)?;
        Ok(ExitCode::SUCCESS)
    }
}
