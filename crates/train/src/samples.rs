//! From dataset files to samples: every bad row is found before anything is computed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hearth_data::{
    BadRow, Error as DataError, Rendered, Renderer, Row, RowContent, RowReader, Sample, carve, source,
};
use hearth_run::Dropped;
use hearth_run::ledger::{Entry, Reason, RowDigest, Usage};

use crate::digest;
use crate::error::{TrainError, io_error};

/// Bad rows that one message lists; the others are counted.
const LISTED_ERRORS_MAX: usize = 20;
/// Dropped rows whose lines are listed; the others are counted.
pub const LISTED_LINES_MAX: usize = 100;
/// Rows whose prompts are compared with those of a server.
const FIRST_ROWS: usize = 16;
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
    /// What became of each row.
    pub entries: Vec<Entry>,
    /// The first rows that are used, perhaps without some of their samples, for whoever looks at them.
    pub first: Vec<Place>,
    /// Whether a row teaches thoughts.
    pub teaches_thoughts: bool,
    /// Names of the files.
    files: Vec<String>,
    /// The row of each sample, ascending: most rows make one, some make several.
    from: Vec<Origin>,
    /// Rows that have samples.
    usable_rows: usize,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of its file.
    pub file: usize,
    /// Its line, from 1.
    pub line: u64,
    /// Whether all of its samples are used.
    pub is_whole: bool,
}

/// Where a sample came from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    file: usize,
    /// Number among the usable rows.
    row: usize,
}

impl Samples {
    /// Reads and renders all rows, which are for `usage`. Fails with one message that lists the bad rows, or that says
    /// that no sample is left; `what` names the rows in it, for example `training`. Gives up when asked to stop.
    pub fn read(
        what: &str,
        usage: Usage,
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
            while let Some(row) = rows.next() {
                if stop.load(Ordering::Relaxed) {
                    return Err(TrainError::Stopped);
                }
                read.rows += 1;
                let rendered = row.and_then(|row| {
                    let rendered = renderer.render(&row, max_context_length).map_err(BadRow::from)?;
                    Ok((row, rendered))
                });
                match rendered {
                    Ok((row, rendered)) => {
                        let digest = RowDigest::of(rows.last_row());
                        read.entries.push(entry(number, row.line, digest, usage, &rendered));
                        if rendered.samples.is_empty() {
                            read.drop_row(row.line, (files.len() > 1).then_some(number));
                            continue;
                        }
                        read.teaches_thoughts |= teaches_thoughts(&row);
                        if read.first.len() < FIRST_ROWS {
                            let is_whole = rendered.too_long.is_empty();
                            read.first.push(Place { file: number, line: row.line, is_whole });
                        }
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

    /// The samples of the row at a line of a file, by the file's number.
    pub fn of_row(&self, file: usize, line: u64) -> &[Sample] {
        let place = |index: usize| (self.from[index].file, self.samples[index].line);
        let count = self.samples.len();
        let from = partition_point(count, |index| place(index) < (file, line));
        let to = partition_point(count, |index| place(index) <= (file, line));
        &self.samples[from..to]
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
        let usable = self.entries.iter_mut().filter(|entry| entry.samples > 0);
        let mut chosen_rows = chosen.iter().peekable();
        for (row, entry) in usable.enumerate() {
            if chosen_rows.next_if_eq(&&row).is_some() {
                entry.usage = Usage::CarvedOut;
            }
        }
        Self {
            samples,
            rows: chosen.len() as u64,
            files: self.files.clone(),
            from,
            usable_rows: chosen.len(),
            ..Self::default()
        }
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

/// What stands in the ledger of a row of this file.
fn entry(file: usize, line: u64, row: RowDigest, usage: Usage, rendered: &Rendered) -> Entry {
    let samples = &rendered.samples;
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let is_used = !samples.is_empty();
    Entry {
        file: count(file),
        line,
        row,
        usage: if is_used { usage } else { Usage::Dropped },
        why: (!is_used).then_some(Reason::TooLong),
        // Told by the plan of all samples.
        step: None,
        samples: count(samples.len()),
        too_long: count(rendered.too_long.len()),
        tokens: count(samples.iter().map(|sample| sample.tokens.len()).sum()),
        trained_tokens: count(samples.iter().map(Sample::trained_tokens).sum()),
        digest: is_used.then(|| digest::row(samples)),
    }
}

fn teaches_thoughts(row: &Row) -> bool {
    matches!(&row.content, RowContent::Chat(conversation) if conversation.teaches_thoughts())
}

/// The first of `count` indices of which `is_before` does not hold; it holds of all before that one.
fn partition_point(count: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut to) = (0, count);
    while from < to {
        let middle = from + (to - from) / 2;
        if is_before(middle) { from = middle + 1 } else { to = middle }
    }
    from
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
