//! `hearth supervised-fine-tuning-job logs`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;

use super::Target;
use crate::output;

/// Print the trainer's log
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth sftj logs ab12cd34")]
pub struct Args {
    #[command(flatten)]
    job: Target,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let (remote, job) = self.job.fetch()?;
        if job.trainer_logs_signed_url.is_empty() {
            bail!("{} has no log yet: it is {}", job.name, job.short_state());
        }
        let bytes = remote.client.signed_get(&job.trainer_logs_signed_url)?;
        let text = String::from_utf8_lossy(&bytes);
        if json {
            output::json(&json!({ "name": job.name, "log": text }))?;
        } else {
            output::piece(&text)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
