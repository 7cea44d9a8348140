//! What a run tells the world: events, metrics, and one readable line per event in the log.

use std::io::Write;

use hearth_run::{Event, EventKind, EventTail, EventWriter, Lock, Metrics, RunDir};

use crate::error::TrainError;
use crate::memory::Size;
use crate::metrics::MetricsFile;

/// Writes one line to the log, which is standard error. A log that cannot be written stops no run.
pub(crate) fn log(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Event log and metrics file of one run.
#[derive(Debug)]
pub struct Journal {
    dir: RunDir,
    events: EventWriter,
    /// Of the first event of the run directory.
    began_ms: Option<i64>,
    finished: bool,
    metrics: Option<MetricsFile>,
}

impl Journal {
    /// Opens the event log. Metrics open with [`Journal::open_metrics`], once it is known where to go on.
    pub fn open(dir: &RunDir, lock: &Lock) -> Result<Self, TrainError> {
        let events = EventWriter::open(dir, lock)?;
        let history = EventTail::new(dir).poll()?;
        let ended = matches!(history.last(), Some(Event { kind: EventKind::Finished { .. }, .. }));
        Ok(Self {
            dir: dir.clone(),
            events,
            began_ms: history.first().map(|event| event.time_ms),
            finished: ended && dir.output_path().exists(),
            metrics: None,
        })
    }

    /// Whether the run was finished, with its output in place, when the journal was opened.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Time of the first event of the run, by whichever trainer, in milliseconds since the Unix epoch.
    /// Panics before there is one (programmer error).
    pub fn began_ms(&self) -> i64 {
        self.began_ms.expect("a run begins with an event")
    }

    /// Opens the metrics file and cuts it to the length that the checkpoint recorded.
    pub fn open_metrics(&mut self, keep_bytes: u64) -> Result<(), TrainError> {
        self.metrics = Some(MetricsFile::open(self.dir.metrics_path(), keep_bytes)?);
        // The file may be new.
        Ok(self.dir.sync()?)
    }

    /// What was wrong with the event log when it was opened.
    pub fn damage(&self) -> Option<&str> {
        self.events.damage()
    }

    /// Appends an event, its metrics if it has any, and its log line.
    pub fn append(&mut self, kind: EventKind) -> Result<(), TrainError> {
        log(&log_line(&kind));
        if let (Some(file), Some(metrics)) = (&mut self.metrics, Metrics::of(&kind)) {
            file.append(&metrics)?;
        }
        let event = self.events.append(kind)?;
        if self.began_ms.is_none() {
            // Templates are told this time, and checkpoints hold what they made of it.
            self.began_ms = Some(event.time_ms);
            self.events.sync()?;
        }
        Ok(())
    }

    /// Forces everything to disk and returns the length of the metrics file.
    pub fn sync(&self) -> Result<u64, TrainError> {
        self.events.sync()?;
        self.metrics.as_ref().map_or(Ok(0), MetricsFile::sync)
    }
}

fn log_line(kind: &EventKind) -> String {
    match kind {
        EventKind::Fetching { pid, .. } => format!("process {pid} fetches the rows"),
        EventKind::Fetched { files, bytes } => format!("fetched {files} files, {bytes} bytes"),
        EventKind::Started { pid, resumed_from_step: 0 } => format!("trainer {pid} starts"),
        EventKind::Started { pid, resumed_from_step } => {
            format!("trainer {pid} goes on from step {resumed_from_step}")
        }
        EventKind::Validated {
            rows,
            samples,
            dropped_too_long,
            tokens_per_epoch,
            trained_tokens_per_epoch,
            eval_rows,
            eval_carved_out,
            eval_dropped,
            total_steps,
            ..
        } => format!(
            "{rows} rows, {samples} samples ({dropped_too_long} dropped as too long, {eval_carved_out} set aside for \
             evaluation), {tokens_per_epoch} tokens per epoch of which {trained_tokens_per_epoch} are trained on, \
             {eval_rows} evaluation rows ({} dropped as too long), {total_steps} steps",
            eval_dropped.count
        ),
        EventKind::Planned { planned_bytes, limit_bytes, blocks, kept_blocks, micro_batch_tokens } => {
            let limit = limit_bytes.map_or_else(String::new, |bytes| format!(" of {}", Size(bytes)));
            format!(
                "memory: {}{limit}; activations kept for {kept_blocks} of {blocks} blocks; \
                 micro-batches of up to {micro_batch_tokens} tokens",
                Size(*planned_bytes)
            )
        }
        EventKind::Tried { tokens, rss_bytes } => {
            format!("step 0 the largest micro-batch, {tokens} tokens, fits; rss {}", Size(*rss_bytes))
        }
        EventKind::Step {
            step,
            total_steps,
            epoch,
            loss,
            learning_rate,
            grad_norm,
            tokens,
            tokens_per_second,
            seconds_remaining,
            rss_bytes,
            ..
        } => format!(
            "step {step}/{total_steps} epoch {epoch:.2} loss {loss:.4} lr {learning_rate:.2e} \
             grad_norm {grad_norm:.4} tokens {tokens} ({tokens_per_second:.0}/s) \
             remaining {seconds_remaining:.0}s rss {}MiB",
            rss_bytes >> 20
        ),
        EventKind::Eval { step, loss, trained_tokens } => {
            format!("step {step} evaluation loss {loss:.4} over {trained_tokens} tokens")
        }
        EventKind::Checkpoint { step, path } => format!("step {step} checkpoint {path}"),
        EventKind::Warning { message } => format!("warning: {message}"),
        EventKind::Paused { step } => format!("paused at step {step}"),
        EventKind::Writing { step } => format!("step {step} writing results"),
        EventKind::Finished { step, train_loss, best_step, early_stopped, adapter_sha256, .. } => {
            let early = if *early_stopped { ", early," } else { "" };
            let best = best_step.map_or_else(String::new, |best| format!(" of step {best}, the best,"));
            format!(
                "finished{early} at step {step} with loss {train_loss:.4}, adapter{best} {adapter_sha256}"
            )
        }
        EventKind::Failed { message, .. } => format!("failed: {message}"),
    }
}
