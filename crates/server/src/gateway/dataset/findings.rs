//! What is wrong with the rows of a set of files, and what they are.

use std::path::PathBuf;

use hearth_data::check::Report;
use hearth_data::row::Format;
use hearth_data::{BadRow, Code, Finding};
use hearth_domain::{DatasetFinding, DatasetFormat, DatasetRef, DatasetReport};

use crate::error::{FieldViolation, ServerError};
use crate::limits::{
    REPORT_FINDINGS_MAX, REPORT_FINDINGS_MAX_BYTES, ROW_ERRORS_IN_MESSAGE, ROW_ERRORS_SHOWN,
};

/// What a finding takes in an answer beside its texts, at most: tags, lengths and its line.
const FINDING_BYTES: usize = 40;
const HOW_TO_SEE_ALL: &str =
    "; a DatasetValidationJob of the dataset lists all, as `hearth dataset check` does of its files";

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
    /// All of it, of rows that are trained on.
    pub(super) report: Option<Report>,
}

/// The file that a finding is about.
fn file_of(files: &[(String, PathBuf)], finding: &Finding) -> String {
    match (&finding.file, files) {
        (Some(file), _) => file.clone(),
        (None, [(file, _), ..]) => file.clone(),
        (None, []) => String::new(),
    }
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
        bad.findings().iter().for_each(|finding| self.push_in(file, finding));
    }

    /// Notes what a report says of these files; a finding names its file if there are several.
    pub(super) fn push_finding(&mut self, files: &[(String, PathBuf)], finding: &Finding) {
        match (file_of(files, finding), finding.code) {
            (_, Code::EmptyFile | Code::TooFewRows | Code::TooManyRows) => {
                self.push("dataset", finding.sentence());
            }
            (_, Code::MixedFormats) if finding.line == 0 => self.push("dataset", finding.sentence()),
            (file, _) => self.push_in(&file, finding),
        }
    }

    fn push_in(&mut self, file: &str, finding: &Finding) {
        let Finding { line, pointer, .. } = finding;
        let field = if *line == 0 { file.to_owned() } else { format!("{file}:{line}") };
        let at = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
        self.push(field, format!("{at}{}", finding.sentence()));
    }

    /// The report as it is kept with a check of so many datasets, if there is one.
    pub(in crate::gateway) fn report(
        &self,
        dataset: &DatasetRef,
        files: &[(String, PathBuf)],
        datasets: usize,
    ) -> Option<DatasetReport> {
        let report = self.report.as_ref()?;
        let findings = |all: &[Finding]| -> Vec<DatasetFinding> {
            let kept = |finding: &Finding| DatasetFinding {
                file: file_of(files, finding),
                line: finding.line,
                pointer: finding.pointer.clone(),
                code: finding.code.to_string(),
                message: finding.message.clone(),
                fix: finding.fix.clone(),
            };
            // So much of the list of all datasets, in numbers and in bytes.
            let (count, mut bytes_left) =
                (REPORT_FINDINGS_MAX / datasets, REPORT_FINDINGS_MAX_BYTES / datasets);
            let fits = |finding: &DatasetFinding| {
                let DatasetFinding { file, pointer, code, message, fix, .. } = finding;
                let bytes = [file, pointer, code, message, fix].map(String::len).iter().sum::<usize>();
                let rest = bytes_left.checked_sub(bytes + FINDING_BYTES);
                bytes_left = rest.unwrap_or(0);
                rest.is_some()
            };
            all.iter().take(count).map(kept).take_while(fits).collect()
        };
        let (errors, warnings) = (findings(&report.errors), findings(&report.warnings));
        let unlisted =
            [report.error_count - errors.len() as u64, report.warning_count - warnings.len() as u64];
        let note = match unlisted {
            [0, 0] => String::new(),
            [errors, warnings] => format!(
                "{errors} errors and {warnings} warnings are not listed; `hearth dataset check` on the files lists more"
            ),
        };
        Some(DatasetReport {
            dataset: dataset.clone(),
            rows: report.rows,
            errors,
            error_count: report.error_count,
            warnings,
            warning_count: report.warning_count,
            statistics: report.numbers(),
            note,
        })
    }

    /// What the status of a dataset says that is READY: the first warnings, and how many more there are.
    pub(super) fn remarks(&self, files: &[(String, PathBuf)]) -> String {
        let Some(report) = self.report.as_ref().filter(|report| report.warning_count > 0) else {
            return String::new();
        };
        let mut remarks = Findings::default();
        report.warnings.iter().for_each(|warning| remarks.push_finding(files, warning));
        remarks.push_unlisted(report.warning_count - report.warnings.len() as u64);
        let count = report.warning_count;
        format!("{count} {}: {}", if count == 1 { "warning" } else { "warnings" }, remarks.short())
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

    /// The very first errors in one line, and how many more there are.
    fn short(&self) -> String {
        let shown = &self.errors[..self.errors.len().min(ROW_ERRORS_IN_MESSAGE)];
        let texts: Vec<String> =
            shown.iter().map(|one| format!("{}: {}", one.field, one.description)).collect();
        let mut message = texts.join("; ");
        let more = self.error_count - shown.len() as u64;
        if more > 0 {
            message.push_str(&format!("; and {more} more"));
        }
        message
    }

    /// The errors as an answer; `None` if there are none.
    pub(crate) fn error(self) -> Option<ServerError> {
        if self.error_count == 0 {
            return None;
        }
        let mut message = self.short();
        if self.error_count > ROW_ERRORS_IN_MESSAGE as u64 {
            message.push_str(HOW_TO_SEE_ALL);
        }
        Some(ServerError::Invalid { message, violations: self.errors })
    }
}
