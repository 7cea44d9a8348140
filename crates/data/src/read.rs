//! Reading a dataset file line by line, with bounded memory.

use std::io::{BufRead, BufReader, Read};

use crate::error::Error;
use crate::finding::{BadRow, Code, Finding};
use crate::row::{Format, Row};
use crate::source;

/// Longest line, in bytes without the line break.
pub const MAX_LINE_BYTES: usize = 32 << 20;
/// Most rows of a dataset.
pub const MAX_ROWS: u64 = 3_000_000;
/// Fewest rows of a dataset.
pub const MIN_ROWS: u64 = 3;
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

/// What a reader of lines found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The end of the input.
    End,
    /// A line; its bytes are in the buffer.
    Whole,
    /// A line that is longer than the limit. Nothing of it is kept.
    TooLong,
}

/// Parts bytes into lines. A byte order mark at the start of a line is skipped: files that were put together have them. A
/// file that begins as a JSON array does ends with an error that [`source::finding`] knows.
pub struct LineReader<R> {
    input: BufReader<R>,
    max_bytes: usize,
    number: u64,
    /// Only white space was read so far.
    is_at_start: bool,
    marks: u64,
}

impl<R: Read> LineReader<R> {
    /// A reader of lines of at most `max_bytes` bytes.
    pub fn new(input: R, max_bytes: usize) -> Self {
        LineReader {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            max_bytes,
            number: 0,
            is_at_start: true,
            marks: 0,
        }
    }

    /// Number of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Byte order marks that were skipped so far.
    pub fn byte_order_marks(&self) -> u64 {
        self.marks
    }

    /// Appends the next line to `buffer`, without its break.
    pub fn next_line(&mut self, buffer: &mut Vec<u8>) -> std::io::Result<Line> {
        let start = buffer.len();
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
            let line_break = memchr::memchr(b'\n', chunk);
            let part = &chunk[..line_break.unwrap_or(chunk.len())];
            if self.is_at_start
                && let Some(first) =
                    part.iter().find(|byte| !byte.is_ascii_whitespace() && !BOM.contains(byte))
            {
                self.is_at_start = false;
                if *first == b'[' {
                    return Err(source::is_array());
                }
            }
            too_long |= part.len() > self.max_bytes - (buffer.len() - start);
            if too_long {
                buffer.truncate(start);
            } else {
                buffer.extend_from_slice(part);
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
        self.number += 1;
        if too_long {
            // What a long line took is given back.
            buffer.shrink_to(start.max(BUFFER_BYTES));
            return Ok(Line::TooLong);
        }
        if buffer[start..].starts_with(BOM) {
            self.marks += 1;
            buffer.drain(start..start + BOM.len());
        }
        Ok(Line::Whole)
    }
}

/// The row of a line that is not blank.
pub fn parse_row(line: u64, bytes: &[u8]) -> Result<Row, BadRow> {
    Row::from_text(line, text_of(line, bytes)?)
}

/// The text of a line.
pub fn text_of(line: u64, bytes: &[u8]) -> Result<&str, Finding> {
    std::str::from_utf8(bytes).map_err(|error| {
        let message = format!("invalid UTF-8 at byte {} of the line", error.valid_up_to() + 1);
        Finding::new(line, "", Code::InvalidUtf8, message, "save the file as UTF-8")
    })
}

/// What to tell of a line that is too long.
pub fn too_long(line: u64, limits: Limits) -> Finding {
    let message = format!("the line is longer than {} bytes", limits.line_bytes);
    Finding::new(line, "", Code::LineTooLong, message, "divide the row; each row is a line of its own")
}

/// What to tell of the first row beyond the limit.
pub fn too_many_rows(line: u64, limits: Limits) -> Finding {
    let message = format!("a dataset has at most {} rows, this file has more", limits.rows);
    Finding::new(line, "", Code::TooManyRows, message, "leave rows out")
}

/// What all rows of a dataset have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The format.
    pub format: Format,
    /// Whether rows have weights.
    pub is_weighted: bool,
}

impl Kind {
    /// That of a row.
    pub fn of(row: &Row) -> Self {
        Kind { format: row.format(), is_weighted: row.weight.is_some() }
    }

    /// What is wrong with a row of the kind `other` among rows of this one.
    pub fn mismatch(self, other: Self, line: u64) -> Option<Finding> {
        if self.format != other.format {
            let message =
                format!("other rows have {}, this one has {}", self.format.fields(), other.format.fields());
            let fix = "make a dataset of each: a dataset has one format";
            return Some(Finding::new(line, "", Code::MixedFormats, message, fix));
        }
        if self.is_weighted != other.is_weighted {
            let message = match self.is_weighted {
                true => "other rows have a weight, this one has none",
                false => "other rows have no weight, this one has one",
            };
            let fix = "give all rows a weight, or none; 1 is what rows without one have";
            return Some(Finding::new(line, "", Code::MixedWeights, message, fix));
        }
        None
    }
}

/// Iterator over the rows of JSONL bytes.
///
/// Blank lines are skipped but counted as lines. A bad row gives [`Error::Row`] and reading goes on behind it.
/// [`Error::Read`], damaged compression and too many rows end the iteration.
pub struct RowReader<R> {
    lines: LineReader<R>,
    limits: Limits,
    kind: Option<Kind>,
    buffer: Vec<u8>,
    rows: u64,
    ended: bool,
}

impl<R: Read> RowReader<R> {
    /// A reader with the default limits.
    pub fn new(input: R) -> Self {
        Self::with_limits(input, Limits::default())
    }

    /// A reader with other limits.
    pub fn with_limits(input: R, limits: Limits) -> Self {
        let lines = LineReader::new(input, limits.line_bytes);
        RowReader { lines, limits, kind: None, buffer: Vec::new(), rows: 0, ended: false }
    }

    /// Demands this kind of every row, for the second and later files of one dataset.
    pub fn expect_kind(mut self, kind: Option<Kind>) -> Self {
        self.kind = kind;
        self
    }

    /// What all rows must have: that of the first good row, if one was read.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Rows seen so far, good and bad.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The bytes of the row that was read last, good or bad, without white space around them.
    pub fn last_row(&self) -> &[u8] {
        self.buffer.trim_ascii()
    }

    fn row(&mut self) -> Result<Row, BadRow> {
        let row = parse_row(self.lines.number(), &self.buffer)?;
        let kind = Kind::of(&row);
        match self.kind.get_or_insert(kind).mismatch(kind, row.line) {
            Some(finding) => Err(finding.into()),
            None => Ok(row),
        }
    }

    fn last(&mut self, error: impl Into<Error>) -> Option<Result<Row, Error>> {
        self.ended = true;
        Some(Err(error.into()))
    }
}

impl<R: Read> Iterator for RowReader<R> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.buffer.clear();
            let line = match self.lines.next_line(&mut self.buffer) {
                Ok(Line::End) => break,
                Ok(Line::Whole) if self.buffer.trim_ascii().is_empty() => continue,
                Ok(line) => line,
                Err(error) => {
                    return match source::finding(&error) {
                        Some(finding) => self.last(BadRow::from(finding)),
                        None => self.last(Error::Read(error)),
                    };
                }
            };
            let number = self.lines.number();
            if self.rows == self.limits.rows {
                return self.last(BadRow::from(too_many_rows(number, self.limits)));
            }
            self.rows += 1;
            if line == Line::TooLong {
                return Some(Err(BadRow::from(too_long(number, self.limits)).into()));
            }
            return Some(self.row().map_err(Error::from));
        }
        self.ended = true;
        None
    }
}

#[cfg(test)]
mod tests;
