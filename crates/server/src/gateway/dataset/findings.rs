//! What is wrong with the rows of a set of files, and what they are.

use hearth_data::row::Format;
use hearth_data::{BadRow, Finding};
use hearth_domain::DatasetFormat;

use crate::error::{FieldViolation, ServerError};
use crate::limits::{ROW_ERRORS_IN_MESSAGE, ROW_ERRORS_SHOWN};

/// What all files together are like.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Rows, good and bad.
    pub(crate) rows: u64,
    /// Form of the rows; `None` for requests, and when no row is good.
    pub(crate) format: Option<Format>,
    /// The first [`ROW_ERRORS_SHOWN`].
    errors: Vec<FieldViolation>,
    error_count: u64,
}

impl Findings {
    /// Whether nothing is wrong.
    pub(crate) fn is_ok(&self) -> bool {
        self.error_count == 0
    }

    /// The format of a dataset with these rows.
    pub(crate) fn dataset_format(&self) -> DatasetFormat {
        match self.format {
            Some(Format::Chat) => DatasetFormat::Chat,
            Some(Format::Completion) => DatasetFormat::Completion,
            None => DatasetFormat::Unspecified,
        }
    }

    /// Notes something that concerns more than a row.
    pub(super) fn push(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.error_count += 1;
        if self.errors.len() < ROW_ERRORS_SHOWN {
            self.errors.push(FieldViolation { field: field.into(), description: description.into() });
        }
    }

    /// Notes all that is wrong with a row.
    pub(in crate::gateway) fn push_row(&mut self, file: &str, bad: &BadRow) {
        bad.findings().iter().for_each(|finding| self.push_finding(file, finding));
    }

    /// Notes what is wrong in a file; with line 0, with the file.
    pub(super) fn push_finding(&mut self, file: &str, finding: &Finding) {
        let Finding { line, pointer, .. } = finding;
        let field = if *line == 0 { file.to_owned() } else { format!("{file}:{line}") };
        let at = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
        self.push(field, format!("{at}{}", finding.sentence()));
    }

    /// Counts errors that are not listed.
    pub(super) fn push_unlisted(&mut self, count: u64) {
        self.error_count += count;
    }

    /// Takes over what was found in other files, whose names get a beginning.
    pub(crate) fn append(&mut self, prefix: &str, other: Findings) {
        self.rows += other.rows;
        let listed = other.errors.len() as u64;
        for error in other.errors {
            self.push(format!("{prefix}{}", error.field), error.description);
        }
        self.push_unlisted(other.error_count - listed);
    }

    /// The first errors, one on a line, and how many more there are.
    pub(crate) fn text(&self) -> String {
        let mut lines: Vec<String> =
            self.errors.iter().map(|one| format!("{}: {}", one.field, one.description)).collect();
        let more = self.error_count - self.errors.len() as u64;
        if more > 0 {
            lines.push(format!("and {more} more errors"));
        }
        lines.join("\n")
    }

    /// The errors as an answer; `None` if there are none.
    pub(crate) fn error(self) -> Option<ServerError> {
        if self.error_count == 0 {
            return None;
        }
        let shown = &self.errors[..self.errors.len().min(ROW_ERRORS_IN_MESSAGE)];
        let texts: Vec<String> =
            shown.iter().map(|one| format!("{}: {}", one.field, one.description)).collect();
        let mut message = texts.join("; ");
        let more = self.error_count - shown.len() as u64;
        if more > 0 {
            message.push_str(&format!("; and {more} more errors"));
        }
        Some(ServerError::Invalid { message, violations: self.errors })
    }
}
