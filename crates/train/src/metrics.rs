//! `metrics.jsonl`: one flat JSON object per line, keys as Fireworks' metrics file has them.
//!
//! The file never holds a step twice: a checkpoint records how long the file was, and a trainer that
//! goes on from the checkpoint first cuts the file back to that length.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::error::{TrainError, io_error};

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
