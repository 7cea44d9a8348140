//! Checking all of a file.

use std::io::Read;

use crate::error::Error;
use crate::finding::{Code, Finding};
use crate::read::{Limits, MIN_ROWS, RowReader};
use crate::row::Format;

/// Most errors that a [`CheckReport`] lists; the rest is only counted.
pub const MAX_LISTED_ERRORS: usize = 100;

/// What a whole file is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// Rows, good and bad, blank lines not counted.
    pub rows: u64,
    /// The first [`MAX_LISTED_ERRORS`] errors.
    pub errors: Vec<Finding>,
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

    fn push(&mut self, error: Finding) {
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
            Err(Error::Row(bad)) => bad.into_findings().into_iter().for_each(|error| report.push(error)),
            Err(error) => return Err(error),
        }
    }
    report.rows = reader.rows();
    report.format = reader.kind().map(|kind| kind.format);
    let fix = format!("a dataset needs at least {MIN_ROWS} rows");
    if report.rows == 0 && report.is_ok() {
        report.push(Finding::new(0, "", Code::EmptyFile, "the file is empty", fix));
    } else if report.rows < MIN_ROWS && report.rows > 0 {
        let message = format!("the file has {} rows", report.rows);
        report.push(Finding::new(0, "", Code::TooFewRows, message, fix));
    }
    Ok(report)
}
