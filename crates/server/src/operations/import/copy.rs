//! One file, from the bucket to its place among those of the model.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};

use hearth_domain::{ModelRef, RemoteFile};
use hearth_remote::Folder;
use hearth_store::{FilePart, ModelUploads, StoreError};

use crate::error::ServerError;
use crate::http::model_upload::{AppendError, append, written_badly};
use crate::limits::{IMPORT_RANGE_BYTES, IMPORT_RANGE_RETRIES_MAX, IMPORT_RETRY_INTERVAL};
use crate::state::AppState;

/// The model that is imported.
pub(super) struct Target {
    pub(super) name: ModelRef,
    /// A model that was deleted and made again is another one.
    pub(super) create_time_ms: i64,
}

/// Copies what is not there yet of a file, and counts what is there into `copied`.
pub(super) async fn file(
    state: &AppState,
    folder: &Folder,
    target: &Target,
    file: &RemoteFile,
    copied: &AtomicU64,
) -> Result<(), ServerError> {
    let (uploads, name) = (state.store().uploads().clone(), file.name.clone());
    let (model, size_bytes) = (target.name.clone(), file.size_bytes);
    let opened = blocking(move || open(&uploads, &model, &name, size_bytes)).await?;
    let Some(mut part) = opened else {
        copied.fetch_add(file.size_bytes, Ordering::Relaxed);
        return Ok(());
    };
    copied.fetch_add(part.size_bytes(), Ordering::Relaxed);
    let mut failures = 0;
    while part.size_bytes() < file.size_bytes {
        let before = part.size_bytes();
        let (back, result) = range(folder, file, part).await?;
        part = back;
        copied.fetch_add(part.size_bytes() - before, Ordering::Relaxed);
        match result {
            Ok(()) => failures = 0,
            // Bytes that came stay; a connection that breaks again and again without any is given up.
            Err(error) => {
                failures = if part.size_bytes() > before { 0 } else { failures + 1 };
                if failures > IMPORT_RANGE_RETRIES_MAX {
                    return Err(error);
                }
                tokio::time::sleep(IMPORT_RETRY_INTERVAL).await;
            }
        }
    }
    finish(state, target, file, part).await
}

/// The part of a file; `None` if the file is complete.
fn open(
    uploads: &ModelUploads,
    model: &ModelRef,
    name: &str,
    size_bytes: u64,
) -> Result<Option<FilePart>, StoreError> {
    if uploads.size_bytes(model, name)? == Some(size_bytes) {
        return Ok(None);
    }
    let begun = match uploads.session(model, name)? {
        Some(session) => uploads.open(model, name, &session)?.filter(|part| part.size_bytes() <= size_bytes),
        None => None,
    };
    if begun.is_some() {
        return Ok(begun);
    }
    let session = uploads.begin(model, name)?;
    uploads.open(model, name, &session)?.map(Some).ok_or(StoreError::PartInUse)
}

/// Copies one range behind what a part has. The outer error is not worth another attempt.
async fn range(
    folder: &Folder,
    file: &RemoteFile,
    mut part: FilePart,
) -> Result<(FilePart, Result<(), ServerError>), ServerError> {
    let first = part.size_bytes();
    let end = file.size_bytes.min((first / IMPORT_RANGE_BYTES + 1) * IMPORT_RANGE_BYTES);
    let pieces = folder.read(file, first, end).await?;
    let written = append(part.writer()?, pieces, end - first).await;
    let (part, there) = blocking(move || part.sync().map(|there| (part, there))).await?;
    let result = match written {
        Ok(()) if there == end => Ok(()),
        Ok(()) | Err(AppendError::Broken(_)) => Err(ServerError::Unavailable(
            "the connection to S3 breaks off again and again; the import can be begun again".to_owned(),
        )),
        Err(AppendError::TooLong) => return Err(folder.changed(file).into()),
        Err(AppendError::Write(source)) => return Err(written_badly(source)),
    };
    Ok((part, result))
}

/// Puts a complete part in its place, if the model still waits for it.
async fn finish(
    state: &AppState,
    target: &Target,
    file: &RemoteFile,
    part: FilePart,
) -> Result<(), ServerError> {
    let _lock = state.model_lock(&target.name).await;
    let model = state.store().model_find(&target.name).await?;
    let registered = model.upload.as_ref().map(|upload| upload.files.as_slice()).unwrap_or_default();
    let is_meant = model.create_time_ms == target.create_time_ms
        && registered.iter().any(|known| known.name == file.name && known.size_bytes == file.size_bytes);
    if !is_meant {
        return Err(ServerError::FailedPrecondition(format!(
            "model {} was deleted, or other files were registered with it, while it was imported",
            target.name
        )));
    }
    blocking(move || part.finish()).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    match done.map_err(|source| ServerError::internal("storing a part of a file", source))? {
        // Its folder goes with the model.
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Err(ServerError::FailedPrecondition("the model was deleted while it was imported".to_owned()))
        }
        done => Ok(done?),
    }
}
