//! `hearth supervised-fine-tuning-job pause`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::Target;
use crate::output;

/// Let a job rest; its trainer writes a checkpoint first
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth sftj pause ab12cd34")]
pub struct Args {
    #[command(flatten)]
    job: Target,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let (remote, name) = self.job.find()?;
        output::resource(json, &remote.client.act(&name, "pause", &json!({}))?)?;
        Ok(ExitCode::SUCCESS)
    }
}
