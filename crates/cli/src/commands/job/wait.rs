//! `hearth supervised-fine-tuning-job wait`.

use std::process::ExitCode;

use anyhow::Result;

use super::Target;
use crate::progress;

/// Show a job's progress until it ends
///
/// Exits with 0 only if the job ends COMPLETED or EARLY_STOPPED.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth sftj wait ab12cd34")]
pub struct Args {
    #[command(flatten)]
    job: Target,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let (remote, name) = self.job.find()?;
        progress::wait_and_report(&remote.client, &name, json)
    }
}
