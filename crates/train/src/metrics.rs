//! `metrics.jsonl`: one flat JSON object per line, keys as Fireworks' metrics file has them.
//!
//! The file never holds a step twice: a checkpoint records how long the file was, and a trainer that
//! goes on from the checkpoint first cuts the file back to that length.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::error::{TrainError, io_error};

/// A training step's line.
#[derive(Clone, Debug, Serialize)]
pub struct StepMetrics {
    /// Step, from 1.
    pub step: u64,
    /// The same, under the name that plotting tools expect.
    #[serde(rename = "train/step")]
    pub train_step: u64,
    /// Steps of the whole run.
    #[serde(rename = "train/total_steps")]
    pub total_steps: u64,
    /// Mean loss per trained token.
    #[serde(rename = "train/loss")]
    pub loss: f64,
    /// Learning rate.
    #[serde(rename = "train/lr")]
    pub learning_rate: f64,
    /// Tokens processed since the run began.
    #[serde(rename = "train/total_tokens")]
    pub total_tokens: u64,
    /// Tokens per second of this step.
    #[serde(rename = "train/tokens_per_sec")]
    pub tokens_per_second: f64,
    /// Epochs done, as a fraction.
    #[serde(rename = "train/epoch")]
    pub epoch: f64,
    /// L2 norm of the gradient.
    #[serde(rename = "train/grad_norm")]
    pub grad_norm: f64,
    /// Estimate of the time to the end of training.
    #[serde(rename = "train/seconds_remaining")]
    pub seconds_remaining: f64,
    /// Resident memory of the trainer.
    #[serde(rename = "perf/rss_bytes")]
    pub rss_bytes: u64,
}

/// An evaluation's line.
#[derive(Clone, Debug, Serialize)]
pub struct EvalMetrics {
    /// After this step.
    pub step: u64,
    /// Mean loss per trained token of the evaluation rows.
    #[serde(rename = "eval/loss")]
    pub loss: f64,
    /// Trained tokens scored.
    #[serde(rename = "eval/tokens")]
    pub trained_tokens: u64,
}

/// Appends to `metrics.jsonl`.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
    len_bytes: u64,
}

impl MetricsFile {
    /// Opens the file and cuts it to `keep_bytes`, which a checkpoint recorded (0 for a fresh start).
    /// A file that is shorter than that lost lines outside our control; what is whole stays.
    pub fn open(path: PathBuf, keep_bytes: u64) -> Result<Self, TrainError> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let mut kept = Vec::new();
        (&mut file).take(keep_bytes).read_to_end(&mut kept).map_err(io_error("read", &path))?;
        let len_bytes = kept.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at as u64 + 1);
        file.set_len(len_bytes).map_err(io_error("truncate", &path))?;
        file.seek(SeekFrom::End(0)).map_err(io_error("seek", &path))?;
        Ok(Self { path, file, len_bytes })
    }

    /// Appends one line, in one write, so that readers see whole lines; or leaves the file as it is.
    pub fn append(&mut self, metrics: &impl Serialize) -> Result<(), TrainError> {
        let mut line = serde_json::to_vec(metrics).expect("metrics are plain data");
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            // Of a line that found no room a part may be there. If it cannot be cut off, the next trainer does.
            let _ = self.file.set_len(self.len_bytes);
            return Err(io_error("write", &self.path)(error));
        }
        self.len_bytes += line.len() as u64;
        Ok(())
    }

    /// Forces the lines to disk and returns the length of the file, for the checkpoint.
    pub fn sync(&self) -> Result<u64, TrainError> {
        self.file.sync_data().map_err(io_error("sync", &self.path))?;
        Ok(self.len_bytes)
    }
}
