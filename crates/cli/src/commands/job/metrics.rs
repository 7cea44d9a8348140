//! `hearth supervised-fine-tuning-job metrics`.

use std::process::ExitCode;

use anyhow::Result;

use super::Target;
use crate::output;

/// Print a job's metrics: a table, or the file's JSON lines with --json
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth sftj metrics ab12cd34 --json > metrics.jsonl")]
pub struct Args {
    #[command(flatten)]
    job: Target,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let (remote, job) = self.job.fetch()?;
        if json {
            if !job.metrics_file_signed_url.is_empty() {
                let bytes = remote.client.signed_get(&job.metrics_file_signed_url)?;
                output::piece(&String::from_utf8_lossy(&bytes))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Vec<String>> = remote
            .client
            .job_metrics(&job)?
            .iter()
            .map(|row| {
                let number = |value: Option<f64>, digits: usize| {
                    value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
                };
                vec![
                    row.step.to_string(),
                    number(row.epoch, 2),
                    number(row.loss, 4),
                    number(row.eval_loss, 4),
                    row.learning_rate.map(|rate| format!("{rate:.2e}")).unwrap_or_default(),
                    number(row.tokens_per_second, 0),
                ]
            })
            .collect();
        output::table(&["STEP", "EPOCH", "LOSS", "EVAL LOSS", "RATE", "TOKENS/S"], &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}
