//! From dataset files to samples: every bad row is found before anything is computed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hearth_data::{BadRow, Error as DataError, Renderer, RowReader, Sample, carve, source};
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
    /// The row of each sample, ascending: most rows make one, some make several.
    from: Vec<Origin>,
    /// Rows that have samples.
    usable_rows: usize,
}

/// Where a sample came from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    file: usize,
    /// Number among the usable rows.
    row: usize,
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
        let mut kind = None;
        for (number, path) in files.iter().enumerate() {
            let input = source::open(path).map_err(io_error("open", path))?;
            read.files.push(file_name(path));
            let mut rows = RowReader::new(input).expect_kind(kind);
            for row in &mut rows {
                if stop.load(Ordering::Relaxed) {
                    return Err(TrainError::Stopped);
                }
                read.rows += 1;
                let rendered = row.and_then(|row| {
                    let rendered = renderer.render(&row, max_context_length).map_err(BadRow::from)?;
                    Ok((row.line, rendered))
                });
                match rendered {
                    Ok((line, rendered)) if rendered.samples.is_empty() => {
                        read.drop_row(line, (files.len() > 1).then_some(number));
                    }
                    Ok((_, rendered)) => {
                        let origin = Origin { file: number, row: read.usable_rows };
                        read.from.resize(read.from.len() + rendered.samples.len(), origin);
                        read.samples.extend(rendered.samples);
                        read.usable_rows += 1;
                    }
                    Err(DataError::Row(bad)) => errors.push(files, path, &bad.to_string()),
                    Err(source) => return Err(TrainError::Dataset { path: path.clone(), source }),
                }
            }
            kind = rows.kind();
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
            return format!("{} line {line}", self.files[self.from[index].file]);
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

    /// Takes rows out that are then not among these any more, with all their samples, chosen by the seed as
    /// [`carve::carved_out`] says.
    pub fn carve_out(&mut self, seed: u64) -> Self {
        let chosen = carve::carved_out(self.usable_rows, seed);
        let is_chosen = |index: &usize| chosen.binary_search(&self.from[*index].row).is_ok();
        let indices: Vec<usize> = (0..self.samples.len()).filter(is_chosen).collect();
        let (kept, samples) = carve::take_out(std::mem::take(&mut self.samples), &indices);
        let (kept_from, from) = carve::take_out(std::mem::take(&mut self.from), &indices);
        (self.samples, self.from) = (kept, kept_from);
        self.usable_rows -= chosen.len();
        let (rows, usable_rows) = (chosen.len() as u64, chosen.len());
        Self { samples, rows, dropped: Dropped::default(), files: self.files.clone(), from, usable_rows }
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
