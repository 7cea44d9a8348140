//! `hearth supervised-fine-tuning-job delete`.

use std::process::ExitCode;

use anyhow::Result;

use super::Target;
use crate::output;

/// Delete a job; the model that it made stays
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth sftj delete ab12cd34")]
pub struct Args {
    #[command(flatten)]
    job: Target,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let (remote, name) = self.job.find()?;
        remote.client.delete(&name)?;
        output::outcome(json, "deleted", &name)?;
        Ok(ExitCode::SUCCESS)
    }
}
