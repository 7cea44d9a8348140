//! `hearth model list`.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::{BASE_MODEL_ACCOUNT, Server};
use crate::output;

/// List the base models and the account's own models
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth model list")]
pub struct Args {
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let mut items = remote.client.list(&format!("accounts/{BASE_MODEL_ACCOUNT}"), "models")?;
        if remote.account != BASE_MODEL_ACCOUNT {
            items.extend(remote.client.list(&format!("accounts/{}", remote.account), "models")?);
        }
        let fields = [
            ("NAME", "name"),
            ("KIND", "kind"),
            ("STATE", "state"),
            ("CONTEXT", "contextLength"),
            ("BASE", "peftDetails/baseModel"),
            ("CREATED", "createTime"),
        ];
        output::list(json, &items, &fields)?;
        Ok(ExitCode::SUCCESS)
    }
}
