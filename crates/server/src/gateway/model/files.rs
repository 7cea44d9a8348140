//! The files that a model is to have: what may be registered, and when.

use hearth_domain::{Code, Model, ModelFile, ModelRef, ModelUpload};
use hearth_inference::assemble::is_pickle;
use hearth_store::{Store, StoreError, check_model_file};

use crate::error::{FieldViolation, ServerError};
use crate::limits::MODEL_FILE_MAX_BYTES;
use crate::state::AppState;

/// Why files of a READY model stay as they are.
const IS_READY: &str = "is READY; its files cannot change any more, make another model";

/// Reads a model that is being uploaded.
pub(crate) async fn uploading(state: &AppState, name: &ModelRef) -> Result<Model, ServerError> {
    let model = state.store().model_find(name).await?;
    upload_of(&model)?;
    Ok(model)
}

/// Fails if a model is there and still being uploaded.
pub(super) async fn must_be_ready(store: &Store, name: &ModelRef) -> Result<(), ServerError> {
    if store.model_find(name).await?.upload.is_none() {
        return Ok(());
    }
    Err(ServerError::FailedPrecondition(format!(
        "model {name} is being uploaded; call validateUpload when all files are there"
    )))
}

/// The upload of a model; FAILED_PRECONDITION if it is READY.
pub(super) fn upload_of(model: &Model) -> Result<&ModelUpload, StoreError> {
    model.upload.as_ref().ok_or_else(|| StoreError::WrongState {
        kind: "model",
        name: model.name().to_string(),
        message: IS_READY,
    })
}

/// Names and sizes as files to register, sorted by name. Everything that is wrong is said at once.
pub(crate) fn checked<'a>(
    given: impl IntoIterator<Item = (&'a String, &'a i64)>,
) -> Result<Vec<ModelFile>, ServerError> {
    let (mut files, mut violations) = (Vec::new(), Vec::new());
    for (name, size) in given {
        match file(name, *size) {
            Ok(file) => files.push(file),
            Err(description) => {
                violations.push(FieldViolation { field: "filenameToSize".to_owned(), description })
            }
        }
    }
    files.sort_by(|a: &ModelFile, b| a.name.cmp(&b.name));
    for pair in files.windows(2) {
        let is_folder =
            |name: &str| pair[1].name.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
        if is_folder(&pair[0].name) {
            let description = format!("{:?} is a file and the folder of {:?}", pair[0].name, pair[1].name);
            violations.push(FieldViolation { field: "filenameToSize".to_owned(), description });
        }
    }
    if violations.is_empty() && !(1..=Model::FILES_MAX).contains(&files.len()) {
        let description = format!("has {} files; a model has 1 to {}", files.len(), Model::FILES_MAX);
        violations.push(FieldViolation { field: "filenameToSize".to_owned(), description });
    }
    if violations.is_empty() {
        return Ok(files);
    }
    Err(ServerError::Refused { code: Code::InvalidArgument, violations })
}

fn file(name: &str, size: i64) -> Result<ModelFile, String> {
    check_model_file(name).map_err(|error| error.to_string())?;
    if is_pickle(name) {
        return Err(format!(
            "{name:?} is a pickle, and reading one can run any code; bring safetensors instead, or leave it out"
        ));
    }
    let size_bytes =
        u64::try_from(size).ok().filter(|size| *size <= MODEL_FILE_MAX_BYTES).ok_or_else(|| {
            format!("size {size} of {name:?} is not between 0 and {MODEL_FILE_MAX_BYTES} bytes")
        })?;
    Ok(ModelFile { name: name.to_owned(), size_bytes })
}

/// Makes these the files of a model. Those that are there already, in the same size, stay.
pub(crate) async fn register(
    state: &AppState,
    name: &ModelRef,
    files: Vec<ModelFile>,
) -> Result<(), ServerError> {
    let _lock = state.model_lock(name).await;
    let kept = files.clone();
    state
        .store()
        .model_update(name, |model| {
            upload_of(model)?;
            model.upload = Some(ModelUpload { files, ..ModelUpload::default() });
            model.update_time_ms = crate::now_ms();
            Ok(())
        })
        .await?;
    let (uploads, name) = (state.store().uploads().clone(), name.clone());
    tokio::task::spawn_blocking(move || uploads.keep_only(&name, &kept))
        .await
        .map_err(|source| ServerError::internal("removing files of an older upload", source))??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, i64)], expect: &str) {
        let files: Vec<(String, i64)> =
            files.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
        let text = match checked(files.iter().map(|(name, size)| (name, size))) {
            Ok(files) => files.iter().map(|file| file.name.clone()).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert!(text.contains(expect), "{text}");
    }

    #[test]
    fn names_and_sizes_are_checked() {
        check(&[("b.json", 1), ("a/b.json", 0)], "a/b.json b.json");
        check(&[], "1 to 1000");
        check(&[("pytorch_model.bin", 1), ("x/y/z", 1)], "pickle");
        check(&[("pytorch_model.bin", 1), ("x/y/z", 1)], "\"x/y/z\" is not allowed");
        check(&[("a", -1)], "size -1");
        check(&[("a", 1), ("a/b", 1)], "the folder of");
    }
}
