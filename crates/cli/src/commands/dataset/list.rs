//! `hearth dataset list`.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::Server;
use crate::output;

/// List datasets
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth dataset list")]
pub struct Args {
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let items = remote.client.list(&format!("accounts/{}", remote.account), "datasets")?;
        let fields =
            [("NAME", "name"), ("STATE", "state"), ("ROWS", "exampleCount"), ("CREATED", "createTime")];
        output::list(json, &items, &fields)?;
        Ok(ExitCode::SUCCESS)
    }
}
