//! `hearth supervised-fine-tuning-job events`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::Target;
use crate::output;

/// Print what happened to a job, the oldest first
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth sftj events ab12cd34 --follow")]
pub struct Args {
    #[command(flatten)]
    job: Target,
    /// Go on printing events as they happen, until the job ends
    #[arg(long)]
    follow: bool,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let (remote, name) = self.job.find()?;
        if self.follow {
            for event in remote.client.job_event_stream(&name) {
                print(json, &event?)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        for event in remote.client.list(&name, "events")? {
            print(json, &event)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One line for one event.
fn print(json: bool, event: &Value) -> Result<()> {
    if json {
        return output::json(event);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let change = &event["stateChange"];
    let mut what = text(&event["message"]);
    if change.is_object() {
        let state = |value: &Value| text(value).trim_start_matches("JOB_STATE_").to_owned();
        let from_to = format!("{} -> {}", state(&change["from"]), state(&change["to"]));
        what = if what.is_empty() { from_to } else { format!("{from_to}: {what}") };
    }
    let (time, kind) = (text(&event["createTime"]), text(&event["type"]));
    output::line(&format!("{time}  {kind:<16}  {what}"))
}
