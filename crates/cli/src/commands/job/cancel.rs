//! `hearth supervised-fine-tuning-job cancel`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::Target;
use crate::output;

/// Stop a job and keep its record
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth sftj cancel ab12cd34")]
pub struct Args {
    #[command(flatten)]
    job: Target,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let (remote, name) = self.job.find()?;
        remote.client.act(&name, "cancel", &json!({}))?;
        output::outcome(json, "cancelled", &name)?;
        Ok(ExitCode::SUCCESS)
    }
}
