//! Removing what was uploaded of models and never came to its end.

use std::collections::BTreeSet;

use hearth_domain::{Code, ModelRef, Status};
use hearth_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::limits::{MODEL_SWEEP_INTERVAL, MODEL_UPLOAD_LIFE};
use crate::operations;
use crate::state::AppState;

/// Removes the files of models that are not being uploaded: an earlier server was killed in the middle. Only for a
/// server that has just started and takes no calls yet.
pub(crate) async fn orphans(store: &Store) -> Result<(), StoreError> {
    let known: BTreeSet<String> =
        store.model_uploading().await?.iter().map(|model| model.name().to_string()).collect();
    for (name, _) in store.uploads().list()? {
        if !known.contains(&name.to_string()) {
            store.uploads().remove(&name)?;
        }
    }
    Ok(())
}

/// Looks for abandoned uploads and for operations that nobody asks for any more, until `stop`. The models stay and say
/// why their files are gone.
pub(crate) async fn run(state: AppState, stop: CancellationToken) {
    loop {
        if let Err(error) = abandoned(&state).await {
            tracing::error!(%error, "abandoned uploads cannot be removed");
        }
        if let Err(error) = operations::forget(state.store(), crate::now_ms()).await {
            tracing::error!(%error, "operations that ended long ago cannot be removed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(MODEL_SWEEP_INTERVAL) => {}
        }
    }
}

async fn abandoned(state: &AppState) -> Result<(), StoreError> {
    let uploads = state.store().uploads().clone();
    let found = tokio::task::spawn_blocking(move || uploads.list()).await;
    for (name, changed) in found.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))? {
        if changed.elapsed().is_ok_and(|age| age > MODEL_UPLOAD_LIFE) {
            expire(state, &name).await?;
        }
    }
    Ok(())
}

async fn expire(state: &AppState, name: &ModelRef) -> Result<(), StoreError> {
    let _lock = state.model_lock(name).await;
    if !state.store().uploads().expire(name, MODEL_UPLOAD_LIFE)? {
        return Ok(());
    }
    tracing::info!(model = %name, "removed the files of an abandoned upload");
    let days = MODEL_UPLOAD_LIFE.as_secs() / (24 * 3600);
    let status = Status::new(
        Code::DeadlineExceeded,
        format!("its files were removed because nothing came for {days} days; upload them again"),
    );
    let noted = state.store().model_update(name, |model| {
        if let Some(upload) = model.upload.as_mut() {
            upload.status = status;
        }
        Ok(())
    });
    match noted.await {
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use hearth_domain::{AccountId, Model, ModelAbout, ModelId, ModelKind, ModelUpload};

    use super::*;

    /// Sets the time of a folder and of everything in it back.
    fn age(dir: &std::path::Path, by: Duration) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                age(&path, by);
            } else {
                std::fs::File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_modified(SystemTime::now() - by)
                    .unwrap();
            }
        }
        std::fs::File::open(dir).unwrap().set_modified(SystemTime::now() - by).unwrap();
    }

    #[tokio::test]
    async fn only_old_uploads_go_and_the_model_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let state = crate::state::tests::state(dir.path()).await;
        let name =
            |id: &str| ModelRef { account: AccountId::new("a").unwrap(), id: ModelId::new(id).unwrap() };
        for id in ["old", "new"] {
            let model = Model {
                account: name(id).account,
                id: name(id).id,
                display_name: String::new(),
                about: ModelAbout::default(),
                upload: Some(ModelUpload::default()),
                kind: ModelKind::Base { parameter_count: 0 },
                context_length: 0,
                model_type: String::new(),
                imported_from: String::new(),
                created_by: String::new(),
                create_time_ms: 1,
                update_time_ms: 1,
            };
            state.store().model_create(&model).await.unwrap();
        }
        for id in ["old", "new", "orphan"] {
            state.store().uploads().begin(&name(id), "config.json").unwrap();
        }
        orphans(state.store()).await.unwrap();
        let left = || state.store().uploads().list().unwrap().len();
        assert_eq!(left(), 2);
        abandoned(&state).await.unwrap();
        assert_eq!(left(), 2);
        age(&dir.path().join("uploads/a/old"), MODEL_UPLOAD_LIFE + Duration::from_secs(60));
        abandoned(&state).await.unwrap();
        assert_eq!(left(), 1);
        let status = state.store().model_find(&name("old")).await.unwrap().upload.unwrap().status;
        assert!(status.message.contains("nothing came for 7 days"), "{status:?}");
        let status = state.store().model_find(&name("new")).await.unwrap().upload.unwrap().status;
        assert_eq!(status, Status::default());
    }
}
