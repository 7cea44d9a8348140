//! `hearth supervised-fine-tuning-job get`.

use std::process::ExitCode;

use anyhow::Result;

use super::Target;
use crate::output;

/// Show a job
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth sftj get ab12cd34")]
pub struct Args {
    #[command(flatten)]
    job: Target,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let (remote, name) = self.job.find()?;
        output::resource(json, &remote.client.get(&name)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
