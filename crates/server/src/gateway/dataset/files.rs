//! The set of files of a dataset: what may be registered, and when.

use std::collections::HashMap;

use hearth_domain::{Dataset, DatasetFile, DatasetRef, DatasetState, QuotaKind, Status};
use hearth_store::{NewDataset, ObjectKey, PutOutcome, StagedObject, Staging, StoreError};

use crate::error::ServerError;
use crate::limits::SIGNED_FILE_MAX_BYTES;
use crate::quota::must_have_room;
use crate::state::AppState;

/// Why nobody uploads to the output of a job.
const IS_OUTPUT: &str = "is the output of a job, which makes its files";
/// Why nobody uploads to rows that lie elsewhere.
const IS_EXTERNAL: &str = "has its rows behind externalUrl, and gets no files; make another dataset";
/// Why files of a READY dataset stay as they are.
const IS_READY: &str = "is READY; its files cannot change any more, make another dataset";

/// A plain file name that ends as those of files with rows.
pub(crate) fn check_name(field: &str, dataset: &DatasetRef, file: &str) -> Result<(), ServerError> {
    ObjectKey::dataset_file(dataset, file).map_err(|error| ServerError::field(field, error.to_string()))?;
    if !DatasetFile::is_rows_name(file) {
        let ends = DatasetFile::EXTENSIONS.join(", ");
        return Err(ServerError::field(field, format!("file name {file:?} ends with none of {ends}")));
    }
    Ok(())
}

/// The announced size; 0 means that it is not known.
pub(super) fn check_size(file: &str, size: i64) -> Result<u64, ServerError> {
    let found = u64::try_from(size).ok().filter(|size| *size <= SIGNED_FILE_MAX_BYTES);
    found.ok_or_else(|| {
        let what = format!("size {size} of {file:?} is not between 0 and {SIGNED_FILE_MAX_BYTES} bytes");
        ServerError::field("filenameToSize", what)
    })
}

/// Between one file and [`Dataset::FILES_MAX`].
pub(super) fn check_count(count: usize) -> Result<(), ServerError> {
    if (1..=Dataset::FILES_MAX).contains(&count) {
        return Ok(());
    }
    let what = format!("has {count} files; a dataset has 1 to {}", Dataset::FILES_MAX);
    Err(ServerError::field("filenameToSize", what))
}

/// No two names that some file systems take for one.
pub(super) fn check_cases(files: &[DatasetFile]) -> Result<(), ServerError> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for file in files {
        if let Some(other) = seen.insert(file.name.to_lowercase(), &file.name) {
            let what = format!("{other:?} and {:?} differ only in capital letters; rename one", file.name);
            return Err(ServerError::field("filenameToSize", what));
        }
    }
    Ok(())
}

/// Fails unless files may still change.
fn must_be_uploading(dataset: &Dataset) -> Result<(), StoreError> {
    match dataset.state {
        DatasetState::Ready if !dataset.external_url.is_empty() => Err(StoreError::WrongState {
            kind: "dataset",
            name: dataset.name().to_string(),
            message: IS_EXTERNAL,
        }),
        DatasetState::Uploading if !dataset.source_job_name.is_empty() => Err(StoreError::WrongState {
            kind: "dataset",
            name: dataset.name().to_string(),
            message: IS_OUTPUT,
        }),
        DatasetState::Uploading => Ok(()),
        DatasetState::Ready => Err(StoreError::WrongState {
            kind: "dataset",
            name: dataset.name().to_string(),
            message: IS_READY,
        }),
    }
}

/// Reads a dataset whose files may still change.
pub(crate) async fn uploading(state: &AppState, name: &DatasetRef) -> Result<Dataset, ServerError> {
    let dataset = state.store().dataset_get(name).await?;
    must_be_uploading(&dataset)?;
    Ok(dataset)
}

/// Replaces the set of files. One that is there already and has the announced size needs no other upload: clients ask
/// for new URLs in the middle of a long series, with the whole set.
pub(super) async fn register(
    state: &AppState,
    name: &DatasetRef,
    files: Vec<DatasetFile>,
) -> Result<Dataset, ServerError> {
    let _lock = state.dataset_lock(name).await;
    let before = state.store().dataset_get(name).await?;
    let register = |dataset: &mut Dataset| {
        let old = std::mem::take(&mut dataset.files);
        let files = files.into_iter().map(|new| kept(&old, new)).collect();
        set_files(dataset, files)
    };
    let after = state.store().dataset_update(name, register).await?;
    remove_replaced(state, &before, &after).await?;
    Ok(after)
}

/// The new registration of a file, with what is there of it.
fn kept(old: &[DatasetFile], new: DatasetFile) -> DatasetFile {
    let fits = |old: &&DatasetFile| {
        let size_fits = new.announced_bytes == 0 || new.announced_bytes == old.size_bytes;
        old.name == new.name && old.is_stored() && size_fits
    };
    match old.iter().find(fits) {
        Some(old) => DatasetFile { announced_bytes: new.announced_bytes, ..old.clone() },
        None => new,
    }
}

/// Removes the files of `before` that are not among those of `after`.
async fn remove_replaced(state: &AppState, before: &Dataset, after: &Dataset) -> Result<(), ServerError> {
    for file in before.files.iter().filter(|old| !after.files.iter().any(|new| new.name == old.name)) {
        state.objects().delete(&ObjectKey::dataset_file(&before.name(), &file.name)?).await?;
    }
    Ok(())
}

/// Makes `files` the only ones.
pub(crate) fn set_files(dataset: &mut Dataset, files: Vec<DatasetFile>) -> Result<(), StoreError> {
    must_be_uploading(dataset)?;
    dataset.files = files;
    dataset.status = Status::default();
    dataset.update_time_ms = crate::now_ms();
    Ok(())
}

/// Notes that a registered file is there.
pub(crate) fn set_uploaded(dataset: &mut Dataset, file: DatasetFile) -> Result<(), StoreError> {
    must_be_uploading(dataset)?;
    let Some(registered) = dataset.files.iter_mut().find(|known| known.name == file.name) else {
        return Err(StoreError::WrongState {
            kind: "dataset",
            name: dataset.name().to_string(),
            message: "got another set of files meanwhile; ask for new upload urls",
        });
    };
    // What was announced stays: the file may be sent again.
    registered.size_bytes = file.size_bytes;
    registered.sha256 = file.sha256;
    dataset.update_time_ms = crate::now_ms();
    Ok(())
}

/// Puts an uploaded file in its place and notes it in the dataset by `note`. Where `note` refuses, because the dataset
/// became READY or went away while the bytes came, nothing has changed.
pub(crate) async fn publish(
    state: &AppState,
    name: &DatasetRef,
    file: String,
    staged: StagedObject,
    note: impl Fn(&mut Dataset, DatasetFile) -> Result<(), StoreError> + Send + Sync,
) -> Result<DatasetFile, ServerError> {
    let _lock = state.dataset_lock(name).await;
    let PutOutcome { size_bytes, sha256 } = staged.outcome().clone();
    let file = DatasetFile::stored(file, size_bytes, sha256);
    let noted = async {
        let before = state.store().dataset_get(name).await?;
        note(&mut before.clone(), file.clone())?;
        Ok(before)
    };
    let before = match noted.await {
        Ok(before) => before,
        Err(error) => {
            staged.discard().await;
            return Err(StoreError::into(error));
        }
    };
    staged.publish().await?;
    let after = state.store().dataset_update(name, |dataset| note(dataset, file.clone())).await?;
    remove_replaced(state, &before, &after).await?;
    Ok(file)
}

/// Adds datasets of one account that begin with their files: all of them or none, and at least one. Goes on when the caller no longer waits.
pub(crate) async fn create_whole(
    state: &AppState,
    new: Vec<NewDataset>,
    staging: Staging,
) -> Result<(), ServerError> {
    let state = state.clone();
    let creating = tokio::spawn(async move {
        let account = &new[0].dataset.account.clone();
        let _lock = state.account_lock(account).await;
        must_have_room(&state, account, QuotaKind::Datasets, new.len() as u64).await?;
        Ok(state.store().dataset_create_whole(new, staging).await?)
    });
    creating.await.map_err(|source| ServerError::internal("making datasets", source))?
}

/// Unregisters and removes a file that was refused, if it is still the dataset's only one.
pub(crate) async fn forget(
    state: &AppState,
    name: &DatasetRef,
    file: &DatasetFile,
) -> Result<(), ServerError> {
    let _lock = state.dataset_lock(name).await;
    let mut is_ours = false;
    let change = |dataset: &mut Dataset| {
        is_ours = dataset.state == DatasetState::Uploading && dataset.files == [file.clone()];
        if is_ours {
            dataset.files.clear();
        }
        Ok(())
    };
    state.store().dataset_update(name, change).await?;
    if is_ours {
        state.objects().delete(&ObjectKey::dataset_file(name, &file.name)?).await?;
    }
    Ok(())
}
