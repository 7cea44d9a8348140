//! Checking the rows of a dataset, which makes it READY.

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;

use hearth_data::read::MIN_ROWS;
use hearth_data::row::Format;
use hearth_data::{CheckReport, Limits, check_file};
use hearth_domain::{Code, Dataset, DatasetFormat, DatasetRef, DatasetState, Status};
use hearth_store::ObjectKey;

use crate::error::{FieldViolation, ServerError};
use crate::limits::{ROW_ERRORS_IN_MESSAGE, ROW_ERRORS_SHOWN};
use crate::state::AppState;

/// What all files together are like.
#[derive(Debug, Default)]
struct Findings {
    rows: u64,
    format: Option<Format>,
    /// The first [`ROW_ERRORS_SHOWN`].
    errors: Vec<FieldViolation>,
    error_count: u64,
}

impl Findings {
    fn push(&mut self, field: String, description: String) {
        self.error_count += 1;
        if self.errors.len() < ROW_ERRORS_SHOWN {
            self.errors.push(FieldViolation { field, description });
        }
    }

    /// Takes over the report of one file.
    fn add(&mut self, file: &str, report: CheckReport) {
        self.rows += report.rows;
        let mut listed = 0;
        for error in report.errors {
            listed += 1;
            // Whether there are enough rows is a question to the whole dataset.
            if error.line == 0 && report.rows > 0 {
                continue;
            }
            let field = if error.line == 0 { file.to_owned() } else { format!("{file}:{}", error.line) };
            let at = if error.pointer.is_empty() { String::new() } else { format!("{}: ", error.pointer) };
            self.push(field, format!("{at}{}", error.message));
        }
        self.error_count += report.error_count - listed;
        match (self.format, report.format) {
            (Some(first), Some(this)) if first != this => {
                let what = "rows have another format than those of the files before; a dataset has one";
                self.push(file.to_owned(), what.to_owned());
            }
            (None, found) => self.format = found,
            _ => {}
        }
    }

    fn error(self) -> Option<ServerError> {
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

/// Reads all files. Blocking.
fn read_all(files: &[(String, PathBuf)]) -> Result<Findings, ServerError> {
    let mut findings = Findings::default();
    for (name, path) in files {
        let failed = |source: std::io::Error| match source.kind() {
            ErrorKind::NotFound => ServerError::FailedPrecondition(format!(
                "file {name:?} was replaced while it was checked; call validateUpload again"
            )),
            _ => ServerError::internal("opening a dataset file", source),
        };
        let file = File::open(path).map_err(failed)?;
        let report = check_file(file, Limits::default())
            .map_err(|source| ServerError::internal("reading a dataset file", source))?;
        findings.add(name, report);
    }
    let enough = findings.rows >= MIN_ROWS || findings.error_count > 0;
    if !enough {
        let what = format!("has {} rows; at least {MIN_ROWS} are needed", findings.rows);
        findings.push("dataset".to_owned(), what);
    }
    let limit = Limits::default().rows;
    if findings.rows > limit {
        findings
            .push("dataset".to_owned(), format!("has {} rows; at most {limit} are allowed", findings.rows));
    }
    Ok(findings)
}

/// Checks every row of the uploaded files: READY with the true number of rows and the format, or
/// INVALID_ARGUMENT with lines and fields, which also stands in the dataset's status. A READY dataset stays so.
pub(crate) async fn dataset_check(state: &AppState, name: &DatasetRef) -> Result<Dataset, ServerError> {
    let dataset = state.store().dataset_get(name).await?;
    if dataset.state == DatasetState::Ready {
        return Ok(dataset);
    }
    let _permit = state.upload_permit()?;
    let files = uploaded_files(state, &dataset)?;
    let findings = tokio::task::spawn_blocking(move || read_all(&files))
        .await
        .map_err(|source| ServerError::internal("checking a dataset", source))??;
    let (rows, format) = (findings.rows, findings.format);
    let error = findings.error();
    let checked = dataset.files;
    let _lock = state.dataset_lock(name).await;
    let updated = state
        .store()
        .dataset_update(name, |dataset| {
            // Files that came meanwhile were not looked at: the next call will.
            if dataset.files != checked {
                return Ok(());
            }
            dataset.update_time_ms = crate::now_ms();
            match &error {
                Some(error) => dataset.status = Status::new(Code::InvalidArgument, error.to_string()),
                None => {
                    dataset.state = DatasetState::Ready;
                    dataset.status = Status::default();
                    dataset.example_count = rows;
                    dataset.format = match format {
                        Some(Format::Chat) => DatasetFormat::Chat,
                        Some(Format::Completion) => DatasetFormat::Completion,
                        None => DatasetFormat::Unspecified,
                    };
                }
            }
            Ok(())
        })
        .await?;
    match error {
        Some(error) => Err(error),
        None if updated.state == DatasetState::Ready => Ok(updated),
        None => Err(ServerError::FailedPrecondition(format!(
            "the files of dataset {name} changed while they were checked; call validateUpload again"
        ))),
    }
}

/// Names and places of the registered files, all of which must be there.
pub(super) fn uploaded_files(
    state: &AppState,
    dataset: &Dataset,
) -> Result<Vec<(String, PathBuf)>, ServerError> {
    let name = dataset.name();
    if dataset.files.is_empty() {
        return Err(ServerError::FailedPrecondition(format!(
            "dataset {name} has no files; call getUploadEndpoint and upload them first"
        )));
    }
    if let Some(missing) = dataset.files.iter().find(|file| !file.is_stored()) {
        return Err(ServerError::FailedPrecondition(format!(
            "file {:?} of dataset {name} has not been uploaded",
            missing.name
        )));
    }
    let place = |file: &hearth_domain::DatasetFile| {
        let key = ObjectKey::dataset_file(&name, &file.name)?;
        Ok((file.name.clone(), state.objects().local_path(&key)?))
    };
    dataset.files.iter().map(place).collect()
}
