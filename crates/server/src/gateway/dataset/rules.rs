//! What the rows of a set of files have to be, and the reading of all of them.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hearth_data::check::{Input, Options, check};
use hearth_data::json::Json;
use hearth_data::read::{text_of, too_long};
use hearth_data::row::Format;
use hearth_data::source::{self, Source};
use hearth_data::{BadRow, Code, Finding, Limits, Renderer, Row, RowContent, json};

use super::findings::Findings;
use super::lines::{Line, Lines, Place};
use super::request_rows;
use crate::error::ServerError;
use crate::limits::DATASET_CHECK_THREADS;

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

/// What rows are tried and counted with.
pub(crate) struct Model {
    /// Tokenizer and chat template.
    pub(crate) renderer: Renderer,
    /// Longest sample, in tokens.
    pub(crate) context_length: usize,
}

/// Reads all rows of the files as one dataset. Blocking; gives up when `stop` is set.
pub(crate) fn read_all(
    files: &[(String, PathBuf)],
    rules: Rules,
    stop: &Arc<AtomicBool>,
) -> Result<Findings, ServerError> {
    let mut findings = Findings::default();
    let rules = match rules {
        Rules::Upload if holds_requests(files)? => Rules::Requests { strict: false },
        rules => rules,
    };
    match rules {
        Rules::Requests { strict } => request_rows::read(files, strict, stop, &mut findings)?,
        Rules::Upload | Rules::Chat => return training(files, rules, None, stop),
        Rules::ChatRelaxed => {
            each_line(files, stop, |file, line| relaxed(file, line, &mut findings))?;
        }
    }
    if findings.rows == 0 && findings.is_ok() {
        findings.push("dataset", "has no rows; at least 1 is needed");
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
        match lines(name, path)?.next() {
            Ok(Some(line)) => return Ok(request_rows::is_request(&line)),
            Ok(None) => {}
            // Told by whoever reads all of it.
            Err(error) if source::finding(&error).is_some() => return Ok(false),
            Err(error) => return Err(read_error(error)),
        }
    }
    Ok(false)
}

/// Checks rows that are trained on; with `model` also that each can be.
pub(crate) fn training(
    files: &[(String, PathBuf)],
    rules: Rules,
    model: Option<&Model>,
    stop: &Arc<AtomicBool>,
) -> Result<Findings, ServerError> {
    let inputs = files
        .iter()
        .map(|(name, path)| {
            let input = Stoppable { input: open(name, path)?, stop: Arc::clone(stop) };
            Ok(Input::new(name.clone(), Box::new(input)))
        })
        .collect::<Result<Vec<_>, ServerError>>()?;
    let mut options = Options { threads: DATASET_CHECK_THREADS, ..Options::default() };
    if let Some(Model { renderer, context_length }) = model {
        options.renderer = Some(renderer);
        (options.context_length, options.model_context_length) = (*context_length, *context_length);
    }
    let report = check(inputs, Vec::new(), &options)
        .map_err(|source| ServerError::internal("reading a dataset file", source))?;
    let mut findings = Findings::default();
    for error in &report.errors {
        findings.push_finding(files, error);
    }
    findings.push_unlisted(report.error_count - report.errors.len() as u64);
    if rules == Rules::Chat {
        if report.format == Some(Format::Completion) {
            findings.push("dataset", "rows have no messages, which CHAT rows have");
        }
        // What is only remarkable elsewhere.
        let code = Code::EndsWithoutAnswer;
        let listed = report.warnings.iter().filter(|warning| warning.code == code);
        let count = listed.clone().count() as u64;
        listed.for_each(|warning| findings.push_finding(files, warning));
        findings.push_unlisted(report.warning_counts.get(&code).map_or(0, |all| all - count));
    }
    findings.rows = report.rows;
    findings.format = report.format;
    findings.report = Some(report);
    Ok(findings)
}

/// Calls `check` with each line that is not blank; lines are counted within their file.
pub(super) fn each_line(
    files: &[(String, PathBuf)],
    stop: &Arc<AtomicBool>,
    mut check: impl FnMut(&str, &Line<'_>),
) -> Result<(), ServerError> {
    for (name, path) in files {
        let mut lines = lines(name, path)?;
        while let Some(line) = lines.next().map_err(|error| damaged(name, error))? {
            if stop.load(Ordering::Relaxed) {
                return Err(read_error(stopped()));
            }
            check(name, &line);
        }
    }
    Ok(())
}

/// The bytes of a line, or what is wrong with it.
pub(super) fn bytes_of<'a>(line: &Line<'a>) -> Result<&'a [u8], Finding> {
    if line.is_too_long { Err(too_long(line.number, Limits::default())) } else { Ok(line.bytes) }
}

fn relaxed(file: &str, line: &Line<'_>, findings: &mut Findings) {
    findings.rows += 1;
    let check = || {
        let mut value =
            json::parse(line.number, text_of(line.number, bytes_of(line)?)?).map_err(BadRow::new)?;
        if let Json::Object(members) = &mut value
            && let Some((_, Json::Array(list))) = members.iter_mut().find(|(key, _)| key == "messages")
            && !list.is_empty()
        {
            list.push(answer());
        }
        let row = Row::from_json(line.number, &value)?;
        match row.content {
            RowContent::Chat(_) => Ok(()),
            RowContent::Completion { .. } => {
                let message = "the row has no messages, which CHAT_RELAXED rows have";
                let fix = "check it with another format";
                Err(BadRow::from(Finding::new(line.number, "", Code::MixedFormats, message, fix)))
            }
        }
    };
    match check() {
        Ok(()) => findings.format = Some(Format::Chat),
        Err(bad) => findings.push_row(file, &bad),
    }
}

fn answer() -> Json<'static> {
    let text = |text: &'static str| Json::String(text.into());
    Json::Object(vec![("role".into(), text("assistant")), ("content".into(), text("a"))])
}

fn lines(name: &str, path: &Path) -> Result<Lines, ServerError> {
    // Says it in its own words where the file is gone.
    open(name, path)?;
    let lines = Lines::open(vec![path.to_owned()], Place::default()).map_err(read_error)?;
    Ok(lines.expect("a file begins at its beginning"))
}

fn open(name: &str, path: &Path) -> Result<Source, ServerError> {
    source::open(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => ServerError::FailedPrecondition(format!(
            "file {name:?} was replaced or deleted while it was checked; begin again"
        )),
        _ => read_error(source),
    })
}

fn read_error(source: io::Error) -> ServerError {
    ServerError::internal("reading a dataset file", source)
}

/// As [`read_error`], but a packed file that cannot be unpacked is its sender's fault.
fn damaged(file: &str, error: io::Error) -> ServerError {
    match source::finding(&error) {
        Some(finding) => ServerError::field(file, finding.sentence()),
        None => read_error(error),
    }
}

fn stopped() -> io::Error {
    io::Error::other("the server stops")
}

/// Input that ends with an error when the server stops.
struct Stoppable {
    input: Source,
    stop: Arc<AtomicBool>,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        self.input.read(buffer)
    }
}

#[cfg(test)]
mod tests;
