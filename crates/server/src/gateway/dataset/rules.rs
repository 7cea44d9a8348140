//! What the rows of a set of files have to be, and the reading of all of them.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hearth_data::check::{GIVE_UP_PERCENT, GIVE_UP_ROWS, Input, Options, Report, check};
use hearth_data::json::Json;
use hearth_data::read::{text_of, too_long};
use hearth_data::row::Format;
use hearth_data::source::{self, Source};
use hearth_data::{BadRow, Code, Finding, Limits, Renderer, Row, RowContent, json};

use super::findings::Findings;
use super::lines::{Line, Lines};
use super::request_rows;
use crate::error::ServerError;
use crate::limits::{DATASET_CHECK_THREADS, DATASET_UNPACKED_MAX_BYTES};

/// What rows have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Rows that a job can use: what [`check_file`] takes, or requests if the first row is one.
    Upload,
    /// Rows that can be trained on.
    Training,
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
    let limit = Limits::default().rows;
    let rules = match rules {
        Rules::Upload if holds_requests(files, stop)? => Rules::Requests { strict: false },
        rules => rules,
    };
    match rules {
        Rules::Requests { strict } => request_rows::read(files, strict, limit, stop, &mut findings)?,
        Rules::Upload | Rules::Training | Rules::Chat => return training(files, rules, None, stop),
        Rules::ChatRelaxed => {
            let mut has_good = false;
            each_row(files, limit, stop, &mut findings, |line| relaxed(line).inspect(|()| has_good = true))?;
            findings.format = has_good.then_some(Format::Chat);
        }
    }
    if findings.rows == 0 && findings.is_ok() {
        findings.push("dataset", "has no rows; at least 1 is needed");
    }
    Ok(findings)
}

/// Whether the first row is a request of batch inference.
fn holds_requests(files: &[(String, PathBuf)], stop: &Arc<AtomicBool>) -> Result<bool, ServerError> {
    let guard = Guard::new(stop);
    for (name, path) in files {
        match guard.lines(name, path)?.next() {
            Ok(Some(line)) => return Ok(request_rows::is_request(&line)),
            Ok(None) => {}
            // Told by whoever reads all of it.
            Err(error) if source::finding(&error).is_some() => return Ok(false),
            Err(error) => return Err(guard.error(name, error)),
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
    let guard = Guard::new(stop);
    let inputs = files
        .iter()
        .map(|(name, path)| Ok(Input::new(name.clone(), guard.open(name, path)?)))
        .collect::<Result<Vec<_>, ServerError>>()?;
    let mut options = Options { threads: DATASET_CHECK_THREADS, ..Options::default() };
    if let Some(Model { renderer, context_length }) = model {
        options.renderer = Some(renderer);
        (options.context_length, options.model_context_length) = (*context_length, *context_length);
    }
    let mut report = check(inputs, Vec::new(), &options).map_err(|source| {
        guard.too_much().unwrap_or_else(|| ServerError::internal("reading a dataset file", source))
    })?;
    if rules == Rules::Chat {
        must_be_chats(files, &mut report);
    }
    let mut findings = Findings::default();
    for error in &report.errors {
        findings.push_finding(files, error);
    }
    findings.push_unlisted(report.error_count - report.errors.len() as u64);
    findings.rows = report.rows;
    findings.format = report.format;
    findings.report = Some(report);
    Ok(findings)
}

/// What more the rows of a chat have to be; elsewhere it is only remarkable.
fn must_be_chats(files: &[(String, PathBuf)], report: &mut Report) {
    let code = Code::EndsWithoutAnswer;
    let is_it = |finding: &mut Finding| finding.code == code;
    report.errors.extend(report.warnings.extract_if(.., is_it));
    if let Some(count) = report.warning_counts.remove(&code) {
        report.warning_count -= count;
        report.error_count += count;
        report.error_counts.insert(code, count);
    }
    if report.format == Some(Format::Completion) {
        let message = "the rows have no messages, which CHAT rows have";
        report.errors.push(Finding::new(
            0,
            "",
            Code::MixedFormats,
            message,
            "check them with another format",
        ));
        report.error_count += 1;
        *report.error_counts.entry(Code::MixedFormats).or_default() += 1;
    }
    let file = |finding: &Finding| files.iter().position(|(name, _)| finding.file.as_ref() == Some(name));
    report.errors.sort_by_key(|finding| (file(finding), finding.line));
}

/// Checks each line that is not blank; lines are counted within their file. Ends at the limit of rows, and when nearly all
/// are bad, as [`hearth_data::check`] does.
pub(super) fn each_row(
    files: &[(String, PathBuf)],
    limit: u64,
    stop: &Arc<AtomicBool>,
    findings: &mut Findings,
    mut check: impl FnMut(&Line<'_>) -> Result<(), BadRow>,
) -> Result<(), ServerError> {
    let guard = Guard::new(stop);
    let (mut rows, mut bad_rows) = (0, 0);
    for (name, path) in files {
        let mut lines = guard.lines(name, path)?;
        while let Some(line) = lines.next().map_err(|error| guard.error(name, error))? {
            if findings.rows == limit {
                findings.push("dataset", format!("has more than {limit} rows; divide it"));
                return Ok(());
            }
            findings.rows += 1;
            rows += 1;
            if let Err(bad) = check(&line) {
                bad_rows += 1;
                findings.push_row(name, &bad);
            }
            if rows == GIVE_UP_ROWS {
                if bad_rows >= GIVE_UP_ROWS / 100 * GIVE_UP_PERCENT {
                    let what = format!(
                        "nearly all of the last {GIVE_UP_ROWS} rows are bad, so the rest is not looked at"
                    );
                    findings.push(format!("{name}:{}", line.number), what);
                    return Ok(());
                }
                (rows, bad_rows) = (0, 0);
            }
        }
    }
    Ok(())
}

/// The bytes of a line, or what is wrong with it.
pub(super) fn bytes_of<'a>(line: &Line<'a>) -> Result<&'a [u8], Finding> {
    if line.is_too_long { Err(too_long(line.number, Limits::default())) } else { Ok(line.bytes) }
}

fn relaxed(line: &Line<'_>) -> Result<(), BadRow> {
    let mut value = json::parse(line.number, text_of(line.number, bytes_of(line)?)?).map_err(BadRow::new)?;
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
}

fn answer() -> Json<'static> {
    let text = |text: &'static str| Json::String(text.into());
    Json::Object(vec![("role".into(), text("assistant")), ("content".into(), text("a"))])
}

/// Ends the reading of a dataset when the server stops or nobody waits any more, and when its packed files hold too much.
struct Guard {
    stop: Arc<AtomicBool>,
    /// Bytes that packed files may still hold.
    left: Arc<AtomicU64>,
}

impl Guard {
    fn new(stop: &Arc<AtomicBool>) -> Self {
        Self { stop: Arc::clone(stop), left: Arc::new(AtomicU64::new(DATASET_UNPACKED_MAX_BYTES)) }
    }

    fn lines(&self, name: &str, path: &Path) -> Result<Lines, ServerError> {
        Ok(Lines::of(self.open(name, path)?))
    }

    fn open(&self, name: &str, path: &Path) -> Result<Source, ServerError> {
        let opened = File::open(path).and_then(|mut file| {
            let is_packed = source::is_packed_file(&mut file)?;
            Ok((source::unpack(file)?, is_packed))
        });
        let (input, is_packed) = opened.map_err(|source| match source.kind() {
            ErrorKind::NotFound => ServerError::FailedPrecondition(format!(
                "file {name:?} was replaced or deleted while it was checked; begin again"
            )),
            _ => read_error(source),
        })?;
        let left = is_packed.then(|| Arc::clone(&self.left));
        Ok(Box::new(Guarded { input, stop: Arc::clone(&self.stop), left }))
    }

    /// What an error of reading is; a packed file that cannot be unpacked is its sender's fault.
    fn error(&self, file: &str, error: io::Error) -> ServerError {
        match source::finding(&error) {
            Some(finding) => ServerError::field(file, finding.sentence()),
            None => self.too_much().unwrap_or_else(|| read_error(error)),
        }
    }

    /// The error for packed files that hold too much, if they do.
    fn too_much(&self) -> Option<ServerError> {
        (self.left.load(Ordering::Relaxed) == 0).then(|| {
            let gib = DATASET_UNPACKED_MAX_BYTES >> 30;
            ServerError::field("dataset", format!("its packed files hold more than {gib} GiB; divide it"))
        })
    }
}

fn read_error(source: io::Error) -> ServerError {
    ServerError::internal("reading a dataset file", source)
}

/// Input under a [`Guard`].
struct Guarded {
    input: Source,
    stop: Arc<AtomicBool>,
    /// Of a packed file.
    left: Option<Arc<AtomicU64>>,
}

impl Read for Guarded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody waits for the rows any more"));
        }
        let read = self.input.read(buffer)?;
        if let Some(left) = &self.left {
            // One file is read at a time.
            let rest = left.load(Ordering::Relaxed).saturating_sub(read as u64);
            left.store(rest, Ordering::Relaxed);
            if rest == 0 {
                return Err(io::Error::other("the packed files of a dataset hold too much"));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
