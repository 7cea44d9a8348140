//! Checking the rows of a dataset, which makes it READY.

use std::path::PathBuf;

use hearth_domain::{Code, Dataset, DatasetRef, DatasetState, Status};
use hearth_store::ObjectKey;

use super::rules::{Rules, read_all};
use super::stop::StopOnDrop;
use crate::error::ServerError;
use crate::state::AppState;

/// Checks every row of the uploaded files: READY with the true number of rows and the format, or
/// INVALID_ARGUMENT with lines and fields, which also stands in the dataset's status. A READY dataset stays so; one whose
/// rows lie elsewhere is FAILED_PRECONDITION.
pub(crate) async fn dataset_check(state: &AppState, name: &DatasetRef) -> Result<Dataset, ServerError> {
    let dataset = state.store().dataset_get(name).await?;
    must_be_here(&dataset)?;
    if dataset.state == DatasetState::Ready {
        return Ok(dataset);
    }
    let _permit = state.upload_permit()?;
    let files = uploaded_files(state, &dataset)?;
    let stop = StopOnDrop::default();
    let stopped = stop.flag();
    let read = files.clone();
    let findings = tokio::task::spawn_blocking(move || read_all(&read, Rules::Upload, &stopped))
        .await
        .map_err(|source| ServerError::internal("checking a dataset", source))??;
    let (rows, format, remarks) = (findings.rows, findings.dataset_format(), findings.remarks(&files));
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
                    dataset.status = Status::new(Code::Ok, remarks);
                    dataset.example_count = rows;
                    dataset.format = format;
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

/// Only jobs read rows that lie elsewhere.
pub(crate) fn must_be_here(dataset: &Dataset) -> Result<(), ServerError> {
    if dataset.external_url.is_empty() {
        return Ok(());
    }
    Err(ServerError::FailedPrecondition(format!(
        "the rows of dataset {} lie behind its externalUrl and are not here; only a job that trains or evaluates on them \
         fetches them",
        dataset.name()
    )))
}

/// Names and places of the registered files, all of which must be there.
pub(crate) fn uploaded_files(
    state: &AppState,
    dataset: &Dataset,
) -> Result<Vec<(String, PathBuf)>, ServerError> {
    must_be_here(dataset)?;
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
