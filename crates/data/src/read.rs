//! Reading a dataset file line by line, with bounded memory, and checking all of it.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;
use serde_json::error::Category;

use crate::error::{Error, RowError};
use crate::row::{Format, Row};

/// Longest line, in bytes without the line break.
pub const MAX_LINE_BYTES: usize = 32 << 20;
/// Most rows of a dataset.
pub const MAX_ROWS: u64 = 3_000_000;
/// Fewest rows of a dataset.
pub const MIN_ROWS: u64 = 3;
/// Most errors that a [`CheckReport`] lists; the rest is only counted.
pub const MAX_LISTED_ERRORS: usize = 100;
/// Size of the read buffer, in bytes.
const BUFFER_BYTES: usize = 64 << 10;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Limits of a reader.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest line, in bytes.
    pub line_bytes: usize,
    /// Most rows.
    pub rows: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { line_bytes: MAX_LINE_BYTES, rows: MAX_ROWS }
    }
}

/// Iterator over the rows of JSONL bytes.
///
/// Blank lines are skipped but counted as lines; a byte order mark at the start is skipped. A bad row gives
/// [`Error::Row`] and reading goes on behind it. [`Error::Read`] and too many rows end the iteration.
pub struct RowReader<R> {
    input: BufReader<R>,
    limits: Limits,
    format: Option<Format>,
    buffer: Vec<u8>,
    line: u64,
    rows: u64,
    ended: bool,
}

enum Line {
    End,
    Whole,
    TooLong,
}

impl<R: Read> RowReader<R> {
    /// A reader with the default limits.
    pub fn new(input: R) -> Self {
        Self::with_limits(input, Limits::default())
    }

    /// A reader with other limits.
    pub fn with_limits(input: R, limits: Limits) -> Self {
        let input = BufReader::with_capacity(BUFFER_BYTES, input);
        RowReader { input, limits, format: None, buffer: Vec::new(), line: 0, rows: 0, ended: false }
    }

    /// Demands this format of every row, for the second and later files of one dataset.
    pub fn expect_format(mut self, format: Option<Format>) -> Self {
        self.format = format;
        self
    }

    /// The format that all rows must have: that of the first good row, if one was read.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// Rows seen so far, good and bad.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Reads up to the next line break into `buffer`, without the break. Of a line that is too long nothing
    /// beyond the limit is kept.
    fn next_line(&mut self) -> Result<Line, std::io::Error> {
        self.buffer.clear();
        let mut too_long = false;
        let mut any = false;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            any = true;
            let line_break = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..line_break.unwrap_or(chunk.len())];
            too_long |= part.len() > self.limits.line_bytes - self.buffer.len();
            if !too_long {
                self.buffer.extend_from_slice(part);
            }
            let used = part.len() + usize::from(line_break.is_some());
            self.input.consume(used);
            if line_break.is_some() {
                break;
            }
        }
        if !any {
            return Ok(Line::End);
        }
        self.line += 1;
        if too_long {
            self.buffer = Vec::new();
            return Ok(Line::TooLong);
        }
        if self.line == 1 && self.buffer.starts_with(BOM) {
            self.buffer.drain(..BOM.len());
        }
        Ok(Line::Whole)
    }

    fn row(&mut self) -> Result<Row, RowError> {
        let line = self.line;
        let text = match std::str::from_utf8(&self.buffer) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("invalid UTF-8 at byte {} of the line", error.valid_up_to() + 1);
                return Err(RowError::new(line, "", message));
            }
        };
        let value: Value =
            serde_json::from_str(text).map_err(|error| RowError::new(line, "", json_message(&error)))?;
        let row = Row::from_value(line, &value)?;
        match self.format {
            Some(format) if format != row.format() => {
                let message = match format {
                    Format::Chat => "the rows before have messages, this one has prompt and completion",
                    Format::Completion => "the rows before have prompt and completion, this one has messages",
                };
                Err(RowError::new(line, "", format!("{message}; a dataset has one format")))
            }
            _ => {
                self.format = Some(row.format());
                Ok(row)
            }
        }
    }
}

impl<R: Read> Iterator for RowReader<R> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.ended {
                return None;
            }
            let line = match self.next_line() {
                Ok(Line::End) => {
                    self.ended = true;
                    return None;
                }
                Ok(Line::Whole) if self.buffer.trim_ascii().is_empty() => continue,
                Ok(line) => line,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(Error::Read(error)));
                }
            };
            if self.rows == self.limits.rows {
                self.ended = true;
                let message = format!("a dataset has at most {} rows, this file has more", self.limits.rows);
                return Some(Err(RowError::new(self.line, "", message).into()));
            }
            self.rows += 1;
            if let Line::TooLong = line {
                let message = format!("the line is longer than {} bytes", self.limits.line_bytes);
                return Some(Err(RowError::new(self.line, "", message).into()));
            }
            return Some(self.row().map_err(Error::from));
        }
    }
}

/// The parser's sentence without its own position (it only sees one line) and without the row's text, which
/// syntax errors never quote.
fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    match error.classify() {
        Category::Eof => format!("invalid JSON at column {}: the line ends too early", error.column()),
        _ => format!("invalid JSON at column {}: {reason}", error.column()),
    }
}

/// What a whole file is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// Rows, good and bad, blank lines not counted.
    pub rows: u64,
    /// The first [`MAX_LISTED_ERRORS`] errors, at most one for each row.
    pub errors: Vec<RowError>,
    /// All errors.
    pub error_count: u64,
    /// The format; `None` when no row is good.
    pub format: Option<Format>,
}

impl CheckReport {
    /// Whether the file may be trained on.
    pub fn is_ok(&self) -> bool {
        self.error_count == 0
    }

    fn push(&mut self, error: RowError) {
        self.error_count += 1;
        if self.errors.len() < MAX_LISTED_ERRORS {
            self.errors.push(error);
        }
    }
}

/// Reads a whole file and reports every bad row. The error is for input that cannot be read at all.
pub fn check_file<R: Read>(input: R, limits: Limits) -> Result<CheckReport, Error> {
    let mut report = CheckReport { rows: 0, errors: Vec::new(), error_count: 0, format: None };
    let mut reader = RowReader::with_limits(input, limits);
    for row in &mut reader {
        match row {
            Ok(_) => {}
            Err(Error::Row(error)) => report.push(error),
            Err(error) => return Err(error),
        }
    }
    report.rows = reader.rows();
    report.format = reader.format();
    if report.rows == 0 {
        report.push(RowError::new(
            0,
            "",
            format!("the file is empty; a dataset needs at least {MIN_ROWS} rows"),
        ));
    } else if report.rows < MIN_ROWS {
        let message = format!("a dataset needs at least {MIN_ROWS} rows, this file has {}", report.rows);
        report.push(RowError::new(0, "", message));
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
