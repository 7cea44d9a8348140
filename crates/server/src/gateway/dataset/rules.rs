//! What the rows of a set of files have to be, and the reading of all of them.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hearth_data::read::{MAX_LINE_BYTES, MIN_ROWS};
use hearth_data::row::Format;
use hearth_data::{CheckReport, Limits, Row, RowError, RowReader, check_file};
use serde_json::{Value, json};

use super::findings::Findings;
use super::lines::{Line, Lines, Place};
use super::request_rows;
use crate::error::ServerError;

/// What rows have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Rows that a job can use: what [`check_file`] takes, or requests if the first row is one.
    Upload,
    /// Conversations that can be trained on.
    Chat,
    /// Conversations that could be trained on if an answer followed.
    ChatRelaxed,
    /// Requests of batch inference.
    Requests {
        /// Whether each must end with something to answer.
        strict: bool,
    },
}

/// Reads all rows of the files as one dataset. Blocking; gives up when `stop` is set.
pub(crate) fn read_all(
    files: &[(String, PathBuf)],
    rules: Rules,
    stop: &AtomicBool,
) -> Result<Findings, ServerError> {
    let mut findings = Findings::default();
    let rules = match rules {
        Rules::Upload if holds_requests(files)? => Rules::Requests { strict: false },
        rules => rules,
    };
    let least = match rules {
        Rules::Requests { strict } => {
            request_rows::read(files, strict, stop, &mut findings)?;
            1
        }
        Rules::Upload => {
            read_training(files, stop, &mut findings)?;
            MIN_ROWS
        }
        Rules::Chat => {
            read_training(files, stop, &mut findings)?;
            if findings.format == Some(Format::Completion) {
                findings.push("dataset", "rows have prompt and completion; CHAT rows have messages");
            }
            MIN_ROWS
        }
        Rules::ChatRelaxed => {
            each_line(files, stop, |file, line| relaxed(file, line, &mut findings))?;
            1
        }
    };
    if findings.rows < least && findings.is_ok() {
        findings.push("dataset", format!("has {} rows; at least {least} are needed", findings.rows));
    }
    let limit = Limits::default().rows;
    if findings.rows > limit {
        findings.push("dataset", format!("has {} rows; at most {limit} are allowed", findings.rows));
    }
    Ok(findings)
}

/// Whether the first row is a request of batch inference.
fn holds_requests(files: &[(String, PathBuf)]) -> Result<bool, ServerError> {
    for (name, path) in files {
        if let Some(line) = lines(name, path)?.next().map_err(read_error)? {
            return Ok(request_rows::is_request(&line));
        }
    }
    Ok(false)
}

fn read_training(
    files: &[(String, PathBuf)],
    stop: &AtomicBool,
    findings: &mut Findings,
) -> Result<(), ServerError> {
    for (name, path) in files {
        let file = Stoppable { file: open(name, path)?, stop };
        let report = check_file(file, Limits::default())
            .map_err(|source| ServerError::internal("reading a dataset file", source))?;
        add(findings, name, report);
    }
    Ok(())
}

/// Takes over the report of one file.
fn add(findings: &mut Findings, file: &str, report: CheckReport) {
    findings.rows += report.rows;
    findings.push_unlisted(report.error_count - report.errors.len() as u64);
    for error in &report.errors {
        // Whether there are enough rows is a question to the whole dataset.
        if error.line > 0 || report.rows == 0 {
            findings.push_row(file, error);
        }
    }
    match (findings.format, report.format) {
        (Some(first), Some(this)) if first != this => {
            findings.push(file, "rows have another format than those of the files before; a dataset has one");
        }
        (None, found) => findings.format = found,
        _ => {}
    }
}

/// Calls `check` with each line that is not blank; lines are counted within their file.
pub(super) fn each_line(
    files: &[(String, PathBuf)],
    stop: &AtomicBool,
    mut check: impl FnMut(&str, &Line<'_>),
) -> Result<(), ServerError> {
    for (name, path) in files {
        let mut lines = lines(name, path)?;
        while let Some(line) = lines.next().map_err(read_error)? {
            if stop.load(Ordering::Relaxed) {
                return Err(read_error(stopped()));
            }
            check(name, &line);
        }
    }
    Ok(())
}

/// The JSON of a line, or what is wrong with it.
pub(super) fn value_of(line: &Line<'_>) -> Result<Value, RowError> {
    if line.is_too_long {
        let message = format!("the line is longer than {MAX_LINE_BYTES} bytes");
        return Err(RowError { line: line.number, pointer: String::new(), message });
    }
    serde_json::from_slice(line.bytes).map_err(|_| {
        // The reader of training rows has the words for it.
        let found = match RowReader::new(line.bytes).next() {
            Some(Err(hearth_data::Error::Row(error))) => error.message,
            _ => "invalid JSON".to_owned(),
        };
        RowError { line: line.number, pointer: String::new(), message: found }
    })
}

fn relaxed(file: &str, line: &Line<'_>, findings: &mut Findings) {
    findings.rows += 1;
    let check = || {
        let mut value = value_of(line)?;
        match value.get_mut("messages") {
            Some(Value::Array(list)) if !list.is_empty() => {
                list.push(json!({"role": "assistant", "content": "a"}));
            }
            _ => {}
        }
        let row = Row::from_value(line.number, &value)?;
        match row.format() {
            Format::Chat => Ok(()),
            Format::Completion => Err(RowError {
                line: line.number,
                pointer: String::new(),
                message: "the row has prompt and completion; CHAT_RELAXED rows have messages".to_owned(),
            }),
        }
    };
    match check() {
        Ok(()) => findings.format = Some(Format::Chat),
        Err(error) => findings.push_row(file, &error),
    }
}

fn lines(name: &str, path: &Path) -> Result<Lines, ServerError> {
    // Says it in its own words where the file is gone.
    open(name, path)?;
    let lines = Lines::open(vec![path.to_owned()], Place::default()).map_err(read_error)?;
    Ok(lines.expect("a file begins at its beginning"))
}

fn open(name: &str, path: &Path) -> Result<File, ServerError> {
    File::open(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => ServerError::FailedPrecondition(format!(
            "file {name:?} was replaced or deleted while it was checked; begin again"
        )),
        _ => read_error(source),
    })
}

fn read_error(source: io::Error) -> ServerError {
    ServerError::internal("reading a dataset file", source)
}

fn stopped() -> io::Error {
    io::Error::other("the server stops")
}

/// A file that ends with an error when the server stops.
struct Stoppable<'a> {
    file: File,
    stop: &'a AtomicBool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        self.file.read(buffer)
    }
}

#[cfg(test)]
mod tests;
