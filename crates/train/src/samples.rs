//! From dataset files to samples: every bad row is found before anything is computed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hearth_data::{Error as DataError, Renderer, RowReader, Sample, carve};
use hearth_run::Dropped;

use crate::error::{TrainError, io_error};

/// Bad rows that one message lists; the others are counted.
const LISTED_ERRORS_MAX: usize = 20;
/// Dropped rows whose lines are listed; the others are counted.
pub const LISTED_LINES_MAX: usize = 100;
/// Rows of a micro-batch or step that one message names; the others are counted.
const NAMED_ROWS_MAX: usize = 20;

/// The samples of one set of files, in file order.
#[derive(Debug, Default)]
pub struct Samples {
    /// What is trained on or scored.
    pub samples: Vec<Sample>,
    /// Rows read.
    pub rows: u64,
    /// Rows that were longer than the limit and are left out; the first [`LISTED_LINES_MAX`] are listed.
    pub dropped: Dropped,
    /// Names of the files.
    files: Vec<String>,
    /// The file of each sample.
    from: Vec<usize>,
}

impl Samples {
    /// Reads and renders all rows. Fails with one message that lists the bad rows, or that says that no
    /// sample is left; `what` names the rows in it, for example `training`. Gives up when asked to stop.
    pub fn read(
        what: &str,
        files: &[PathBuf],
        renderer: &Renderer,
        max_context_length: usize,
        stop: &AtomicBool,
    ) -> Result<Self, TrainError> {
        let mut read = Self::default();
        let mut errors = Errors::default();
        let mut format = None;
        for (number, path) in files.iter().enumerate() {
            let file = File::open(path).map_err(io_error("open", path))?;
            read.files.push(file_name(path));
            let mut rows = RowReader::new(file).expect_format(format);
            for row in &mut rows {
                if stop.load(Ordering::Relaxed) {
                    return Err(TrainError::Stopped);
                }
                read.rows += 1;
                let sample = row.and_then(|row| {
                    let sample = renderer.sample_within(&row, max_context_length)?;
                    Ok(sample.ok_or(row.line))
                });
                match sample {
                    Ok(Ok(sample)) => {
                        read.samples.push(sample);
                        read.from.push(number);
                    }
                    Ok(Err(line)) => read.drop_row(line, (files.len() > 1).then_some(number)),
                    Err(DataError::Row(error)) => errors.push(files, path, &error.to_string()),
                    Err(source) => return Err(TrainError::Dataset { path: path.clone(), source }),
                }
            }
            format = rows.format();
        }
        errors.into_result(what)?;
        if read.samples.is_empty() && !files.is_empty() {
            return Err(TrainError::Data { message: read.nothing_left(what, max_context_length) });
        }
        Ok(read)
    }

    /// Tokens of all samples.
    pub fn tokens(&self) -> u64 {
        self.samples.iter().map(|sample| sample.tokens.len() as u64).sum()
    }

    /// Tokens with a loss weight.
    pub fn trained_tokens(&self) -> u64 {
        self.samples.iter().map(|sample| sample.trained_tokens() as u64).sum()
    }

    /// Where a sample came from: its line, and its file if there are several.
    pub fn place(&self, index: usize) -> String {
        let line = self.samples[index].line;
        if self.files.len() > 1 {
            return format!("{} line {line}", self.files[self.from[index]]);
        }
        format!("line {line}")
    }

    /// Where these samples came from, for a message.
    pub fn places(&self, indices: impl ExactSizeIterator<Item = usize>) -> String {
        let more = indices.len().saturating_sub(NAMED_ROWS_MAX);
        let named: Vec<String> = indices.take(NAMED_ROWS_MAX).map(|index| self.place(index)).collect();
        match more {
            0 => named.join(", "),
            _ => format!("{} and {more} more", named.join(", ")),
        }
    }

    /// Takes samples out that are then not among these any more, chosen by the seed as [`carve::carved_out`] says.
    pub fn carve_out(&mut self, seed: u64) -> Self {
        let chosen = carve::carved_out(self.samples.len(), seed);
        let (kept, samples) = carve::take_out(std::mem::take(&mut self.samples), &chosen);
        let (kept_from, from) = carve::take_out(std::mem::take(&mut self.from), &chosen);
        (self.samples, self.from) = (kept, kept_from);
        let rows = samples.len() as u64;
        Self { samples, rows, dropped: Dropped::default(), files: self.files.clone(), from }
    }

    /// `file` is its number if there are several.
    fn drop_row(&mut self, line: u64, file: Option<usize>) {
        let dropped = &mut self.dropped;
        dropped.count += 1;
        if dropped.lines.len() < LISTED_LINES_MAX {
            dropped.lines.push(line);
            dropped.files.extend(file.map(|file| file as u64));
        }
    }

    fn nothing_left(&self, what: &str, max_context_length: usize) -> String {
        if self.rows == 0 {
            return format!("the {what} files hold no rows");
        }
        format!(
            "all {} {what} rows are longer than max_context_length, {max_context_length} tokens; \
             raise it or shorten the rows",
            self.rows
        )
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Collects the messages of bad rows.
#[derive(Default)]
struct Errors {
    listed: Vec<String>,
    count: usize,
}

impl Errors {
    /// `message` names the line; the file is named too when there are several.
    fn push(&mut self, files: &[PathBuf], path: &Path, message: &str) {
        self.count += 1;
        if self.listed.len() < LISTED_ERRORS_MAX {
            let prefix = if files.len() > 1 { format!("{} ", file_name(path)) } else { String::new() };
            self.listed.push(format!("{prefix}{message}"));
        }
    }

    fn into_result(self, what: &str) -> Result<(), TrainError> {
        if self.count == 0 {
            return Ok(());
        }
        let rows = if self.count == 1 { "row" } else { "rows" };
        let mut message = format!("{} {what} {rows} cannot be used: {}", self.count, self.listed.join("; "));
        if self.count > self.listed.len() {
            message.push_str(&format!("; and {} more", self.count - self.listed.len()));
        }
        Err(TrainError::Data { message })
    }
}
