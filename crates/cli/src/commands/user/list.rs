//! `hearth user list`.

use std::process::ExitCode;

use anyhow::Result;

use super::COLLECTION;
use crate::config::Server;
use crate::output;

/// List the users of an account (needs an admin's key)
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth user list")]
pub struct Args {
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let items = remote.client.list(&format!("accounts/{}", remote.account), COLLECTION)?;
        let fields = [("NAME", "name"), ("ROLE", "role"), ("EMAIL", "email"), ("CREATED", "createTime")];
        output::list(json, &items, &fields)?;
        Ok(ExitCode::SUCCESS)
    }
}
