//! Views of a supervised fine-tuning job and of its metrics file.

use serde::Deserialize;
use serde_json::Value;

use crate::{Client, ClientError};

/// The fields of a job that a caller acts on.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Job {
    /// `accounts/{account}/supervisedFineTuningJobs/{job}`.
    pub name: String,
    /// Enum name, for example `JOB_STATE_RUNNING`.
    pub state: String,
    /// Why it failed, if it did.
    pub status: Option<JobStatus>,
    /// How far it is.
    pub job_progress: Option<JobProgress>,
    /// Name of the model that it writes.
    pub output_model: String,
    /// URL of the metrics file (JSON lines); works while the job runs.
    pub metrics_file_signed_url: String,
    /// URL of the trainer's log.
    pub trainer_logs_signed_url: String,
    /// Passes over the rows.
    pub epochs: i64,
}

/// `google.rpc.Status` as the API writes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct JobStatus {
    /// Code name.
    pub code: String,
    /// What happened.
    pub message: String,
}

/// Progress of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct JobProgress {
    /// 0 to 100.
    pub percent: i64,
    /// Epochs begun.
    pub epoch: i64,
}

impl Job {
    /// Reads the view from a resource.
    pub fn read(client: &Client, value: &Value) -> Result<Self, ClientError> {
        let job: Self = serde_json::from_value(value.clone())
            .map_err(|error| client.protocol(format!("not a job: {error}")))?;
        if job.state.is_empty() {
            return Err(client.protocol("a job without a state"));
        }
        Ok(job)
    }

    /// State without its prefix, for example `RUNNING`.
    pub fn short_state(&self) -> &str {
        self.state.strip_prefix("JOB_STATE_").unwrap_or(&self.state)
    }

    /// Whether the job has come to its end. A paused job has not: it can be resumed, but not by waiting, so
    /// whoever waits should stop at [`Job::is_stopped`].
    pub fn is_terminal(&self) -> bool {
        matches!(
            self.short_state(),
            "COMPLETED" | "EARLY_STOPPED" | "FAILED" | "CANCELLED" | "EXPIRED" | "DELETED"
        )
    }

    /// Whether nothing more happens unless somebody acts.
    pub fn is_stopped(&self) -> bool {
        self.is_terminal() || self.short_state() == "PAUSED"
    }

    /// Whether the job has a usable result.
    pub fn is_success(&self) -> bool {
        matches!(self.short_state(), "COMPLETED" | "EARLY_STOPPED")
    }
}

/// One line of the metrics file: a training step or an evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MetricsRow {
    /// Optimiser step.
    pub step: u64,
    /// Steps of the whole run.
    #[serde(rename = "train/total_steps")]
    pub total_steps: Option<u64>,
    /// Fraction of epochs done.
    #[serde(rename = "train/epoch")]
    pub epoch: Option<f64>,
    /// Mean training loss per trained token.
    #[serde(rename = "train/loss")]
    pub loss: Option<f64>,
    /// Learning rate.
    #[serde(rename = "train/lr")]
    pub learning_rate: Option<f64>,
    /// Tokens per second.
    #[serde(rename = "train/tokens_per_sec")]
    pub tokens_per_second: Option<f64>,
    /// Tokens since the run began.
    #[serde(rename = "train/total_tokens")]
    pub total_tokens: Option<u64>,
    /// Estimate of the time to the end of training.
    #[serde(rename = "train/seconds_remaining")]
    pub seconds_remaining: Option<f64>,
    /// Resident memory of the trainer.
    #[serde(rename = "perf/rss_bytes")]
    pub rss_bytes: Option<u64>,
    /// Evaluation loss, on lines of evaluations.
    #[serde(rename = "eval/loss")]
    pub eval_loss: Option<f64>,
}

impl Client {
    /// The job's metrics so far: none before the first step. The last line may still be incomplete and is
    /// then left out.
    pub fn job_metrics(&self, job: &Job) -> Result<Vec<MetricsRow>, ClientError> {
        if job.metrics_file_signed_url.is_empty() {
            return Ok(Vec::new());
        }
        match self.signed_get(&job.metrics_file_signed_url) {
            Ok(bytes) => parse_metrics(&bytes).map_err(|detail| self.protocol(detail)),
            Err(ClientError::Api { http_status: 404, .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn parse_metrics(bytes: &[u8]) -> Result<Vec<MetricsRow>, String> {
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    bytes[..whole]
        .split(|&byte| byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            serde_json::from_slice(line).map_err(|error| format!("metrics line {}: {error}", index + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_lines_are_read_until_the_last_whole_one() {
        let rows = parse_metrics(
            b"{\"step\":1,\"train/step\":1,\"train/loss\":2.5,\"train/lr\":0.001}\n{\"step\":1,\"eval/loss\":2}\n{\"step\":2,",
        )
        .unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].loss, rows[0].learning_rate), (Some(2.5), Some(0.001)));
        assert_eq!((rows[1].loss, rows[1].eval_loss), (None, Some(2.0)));
        assert_eq!(parse_metrics(b"").unwrap(), vec![]);
        assert!(parse_metrics(b"{\"step\":1}\nnot json\n").unwrap_err().starts_with("metrics line 2"));
    }

    #[test]
    fn states_end_where_the_api_says() {
        let job = |state: &str| Job { state: format!("JOB_STATE_{state}"), ..Job::default() };
        assert!(job("EARLY_STOPPED").is_success());
        assert!(job("FAILED").is_terminal() && !job("FAILED").is_success());
        assert!(job("PAUSED").is_stopped() && !job("PAUSED").is_terminal());
        assert!(!job("WRITING_RESULTS").is_stopped());
    }
}
