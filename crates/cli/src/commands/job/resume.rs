//! `hearth supervised-fine-tuning-job resume`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::Target;
use crate::output;

/// Go on with a stopped job from its last checkpoint
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth sftj resume ab12cd34")]
pub struct Args {
    #[command(flatten)]
    job: Target,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let (remote, name) = self.job.find()?;
        output::resource(json, &remote.client.act(&name, "resume", &json!({}))?)?;
        Ok(ExitCode::SUCCESS)
    }
}
