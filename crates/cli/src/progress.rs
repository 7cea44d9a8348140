//! Watching a job: polls the job and its metrics file and shows how far it is.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use hearth_client::{Client, ClientError, Job, MetricsRow};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::output;

/// Time between two looks at a job.
const POLL_INTERVAL: Duration = Duration::from_millis(1000);
/// Looks that may fail one after the other before we give up: the server may be restarting.
const POLL_FAILURES_MAX: u32 = 30;
/// Without a terminal, a line is printed at most this often, evaluations and changes of state aside.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Lines of the trainer's log that are shown when a job failed.
const LOG_TAIL_LINES: usize = 20;

/// What is known of a run when it has ended.
pub struct Outcome {
    /// The job.
    pub job: Job,
    /// The resource, for `--json`.
    pub resource: Value,
    /// All its metrics.
    pub metrics: Vec<MetricsRow>,
}

/// Waits for a job, prints how it ended, and gives the exit code.
pub fn wait_and_report(client: &Client, name: &str, json: bool) -> Result<ExitCode> {
    let outcome = watch(client, name, json)?;
    if json {
        output::json(&outcome.resource)?;
    } else {
        output::line(&format!("{} {}", outcome.job.short_state(), outcome.job.name))?;
    }
    if outcome.job.is_success() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: {}", describe_end(&outcome.job));
    Ok(ExitCode::FAILURE)
}

/// Follows a job until nothing more happens by itself.
pub fn watch(client: &Client, name: &str, quiet: bool) -> Result<Outcome> {
    let mut display = Display::new(quiet);
    let mut metrics = Vec::new();
    let mut failures = 0;
    loop {
        let look = client.get(name).and_then(|resource| {
            let job = Job::read(client, &resource)?;
            let metrics = client.job_metrics(&job)?;
            Ok((resource, job, metrics))
        });
        match look {
            Ok((resource, job, rows)) => {
                failures = 0;
                display.show(&job, &rows, metrics.len())?;
                metrics = rows;
                if job.is_stopped() {
                    display.finish()?;
                    return Ok(Outcome { job, resource, metrics });
                }
            }
            Err(ClientError::Transport { .. }) if failures < POLL_FAILURES_MAX => failures += 1,
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// One sentence on a job that did not succeed.
pub fn describe_end(job: &Job) -> String {
    let status = job.status.clone().unwrap_or_default();
    let reason = if status.message.is_empty() {
        String::new()
    } else {
        format!(": {} ({})", output::one_line(&status.message), status.code)
    };
    format!("{} ended {}{reason}", job.name, job.short_state())
}

/// The end of the trainer's log, if it can be read.
pub fn log_tail(client: &Client, job: &Job) -> Option<String> {
    if job.trainer_logs_signed_url.is_empty() {
        return None;
    }
    let bytes = client.signed_get(&job.trainer_logs_signed_url).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Some(lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"))
}

/// Shows progress as a bar on a terminal and as lines elsewhere.
struct Display {
    quiet: bool,
    bar: Option<ProgressBar>,
    state: String,
    last_text: String,
    last_line: Option<Instant>,
}

impl Display {
    fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{bar:24} {msg}").expect("the template is constant");
            ProgressBar::new(0).with_style(style)
        });
        Self { quiet, bar, state: String::new(), last_text: String::new(), last_line: None }
    }

    fn show(&mut self, job: &Job, rows: &[MetricsRow], seen: usize) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        let status = Status::new(job, rows);
        let state_changed = self.state != job.state;
        self.state.clone_from(&job.state);
        if let Some(bar) = &self.bar {
            bar.set_length(status.total_steps.unwrap_or(100));
            bar.set_position(if status.total_steps.is_some() { status.step } else { status.percent });
            bar.set_message(status.text());
            self.last_text = status.text();
            return Ok(());
        }
        let new = rows.get(seen..).unwrap_or_default();
        let evaluated = new.iter().any(|row| row.eval_loss.is_some());
        let due = self.last_line.is_none_or(|last| last.elapsed() >= LINE_INTERVAL);
        if state_changed || evaluated || (due && !new.is_empty()) {
            self.last_line = Some(Instant::now());
            output::line(&status.text())?;
        }
        Ok(())
    }

    /// Leaves the last line where the bar was.
    fn finish(&self) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            output::line(&self.last_text)?;
        }
        Ok(())
    }
}

/// The figures of one moment.
#[derive(Debug)]
struct Status {
    state: String,
    percent: u64,
    step: u64,
    total_steps: Option<u64>,
    epoch: Option<f64>,
    epochs: i64,
    train_loss: Option<f64>,
    eval_loss: Option<f64>,
    learning_rate: Option<f64>,
    tokens_per_second: Option<f64>,
    seconds_remaining: Option<f64>,
    rss_bytes: Option<u64>,
}

impl Status {
    fn new(job: &Job, rows: &[MetricsRow]) -> Self {
        let step = rows.iter().rev().find(|row| row.loss.is_some()).copied().unwrap_or_default();
        let percent = job.job_progress.unwrap_or_default().percent;
        Self {
            state: job.short_state().to_owned(),
            percent: u64::try_from(percent).unwrap_or(0),
            step: step.step,
            total_steps: step.total_steps,
            epoch: step.epoch,
            epochs: job.epochs,
            train_loss: step.loss,
            eval_loss: rows.iter().rev().find_map(|row| row.eval_loss),
            learning_rate: step.learning_rate,
            tokens_per_second: step.tokens_per_second,
            seconds_remaining: step.seconds_remaining,
            rss_bytes: step.rss_bytes,
        }
    }

    /// One line; what is not known yet is left out.
    fn text(&self) -> String {
        let mut parts = vec![self.state.to_lowercase().replace('_', " ")];
        if self.step > 0 {
            parts.push(match self.total_steps {
                Some(total) => format!("step {} of {total}", self.step),
                None => format!("step {} ({} %)", self.step, self.percent),
            });
        }
        if let Some(epoch) = self.epoch {
            parts.push(format!("epoch {epoch:.2} of {}", self.epochs));
        }
        let mut push = |text: Option<String>| parts.extend(text);
        push(self.train_loss.map(|loss| format!("loss {loss:.4}")));
        push(self.eval_loss.map(|loss| format!("eval loss {loss:.4}")));
        push(self.learning_rate.map(|rate| format!("rate {rate:.1e}")));
        push(self.tokens_per_second.map(|rate| format!("{rate:.0} tokens/s")));
        push(self.seconds_remaining.filter(|_| self.state == "RUNNING").map(|left| {
            let left = left.max(0.0).round() as u64;
            format!("{}:{:02} left", left / 60, left % 60)
        }));
        push(self.rss_bytes.map(|bytes| format!("{} MB", bytes / 1_000_000)));
        parts.join("  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_shows_the_last_step_and_the_last_evaluation() {
        let job = Job { state: "JOB_STATE_RUNNING".into(), epochs: 3, ..Job::default() };
        let rows = [
            MetricsRow { eval_loss: Some(3.0), ..MetricsRow::default() },
            MetricsRow {
                step: 7,
                total_steps: Some(66),
                epoch: Some(0.33),
                loss: Some(1.25),
                learning_rate: Some(0.001),
                tokens_per_second: Some(412.4),
                seconds_remaining: Some(124.6),
                rss_bytes: Some(812_000_000),
                ..MetricsRow::default()
            },
        ];
        assert_eq!(
            Status::new(&job, &rows).text(),
            "running  step 7 of 66  epoch 0.33 of 3  loss 1.2500  eval loss 3.0000  rate 1.0e-3  \
             412 tokens/s  2:05 left  812 MB"
        );
        assert_eq!(Status::new(&job, &[]).text(), "running");
    }
}
