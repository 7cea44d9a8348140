//! Copying the files of a model from elsewhere, and checking them as an upload is checked.
//!
//! What is to be copied is listed once and stands in the operation's record. Each file grows as the part of an upload
//! does, in ranges that are forced to disk one by one, so a server that starts goes on behind the last of them.

mod copy;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, stream};
use hearth_domain::location::role_session;
use hearth_domain::operation::{ImportCredentials, ModelImport};
use hearth_domain::secret::SecretRef;
use hearth_domain::{Model, ModelRef, Operation, OperationWork, RemoteFile};
use hearth_remote::{AccessKey, AwsAccess, Folder, Retries, access_key_of_secret};
use hearth_store::StoreError;
use secrecy::ExposeSecret;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Ended;
use crate::error::ServerError;
use crate::gateway::model::{check, files};
use crate::limits::{
    IMPORT_FILES_AT_ONCE, IMPORT_LISTED_MAX, IMPORT_RETRIES_MAX, IMPORT_RETRY_TIMEOUT, IMPORT_SAVE_INTERVAL,
};
use crate::state::AppState;

/// How often a request is made again.
const RETRIES: Retries = Retries { most: IMPORT_RETRIES_MAX, timeout: IMPORT_RETRY_TIMEOUT };

/// Copies, checks and installs a model.
pub(super) async fn run(
    state: &AppState,
    operation: &Operation,
    import: &ModelImport,
    stop: &CancellationToken,
) -> Result<Model, Ended> {
    let name = ModelRef { account: operation.account.clone(), id: import.model.clone() };
    crate::state::sync_models(state.store()).await?;
    let found = state.store().model_find(&name).await?;
    if found.create_time_ms != import.model_create_time_ms {
        return Err(ServerError::NotFound(format!("model {name} was deleted")).into());
    }
    if found.upload.is_none() {
        // A server that was killed had installed it and not noted that.
        return Ok(found);
    }
    let access = access(state, operation, import).await?;
    let folder =
        Folder::open_s3(state.storage_services(), &import.bucket, &import.prefix, &access, RETRIES).await?;
    let planned = if import.files.is_empty() {
        plan(state, operation, &name, &folder).await?
    } else {
        import.files.clone()
    };
    let model = Arc::new(copy::Target { name: name.clone(), create_time_ms: import.model_create_time_ms });
    let (folder, copied) = (Arc::new(folder), Arc::<AtomicU64>::default());
    tokio::select! {
        () = stop.cancelled() => return Err(Ended::Stopped),
        error = note_progress(state, operation, &copied) => return Err(error.into()),
        done = copy_all(state, &folder, &model, planned, &copied) => done?,
    }
    note(state, operation, copied.load(Ordering::Relaxed)).await?;
    // From here on it is an upload like others; it takes minutes, and a server that stops waits for none of them.
    let source = import.source();
    tokio::select! {
        () = stop.cancelled() => return Err(Ended::Stopped),
        checked = check::checked(state, &name, &source) => { checked?; }
    }
    Ok(state.store().model_get(&name).await?)
}

/// Lists the folder and makes its files those of the model. What was uploaded of it before goes: it may be of another
/// source and have the same size.
async fn plan(
    state: &AppState,
    operation: &Operation,
    name: &ModelRef,
    folder: &Folder,
) -> Result<Vec<RemoteFile>, Ended> {
    let listed = folder.list(IMPORT_LISTED_MAX).await?;
    if listed.is_empty() {
        return Err(
            ServerError::NotFound("there are no files in this folder of the bucket".to_owned()).into()
        );
    }
    let sizes: Vec<(String, i64)> = listed
        .iter()
        .map(|file| (file.name.clone(), i64::try_from(file.size_bytes).unwrap_or(i64::MAX)))
        .collect();
    let registered = files::checked(sizes.iter().map(|(name, size)| (name, size)))?;
    let (uploads, of) = (state.store().uploads().clone(), name.clone());
    tokio::task::spawn_blocking(move || uploads.remove(&of))
        .await
        .map_err(|source| ServerError::internal("removing an earlier upload", source))??;
    files::register(state, name, registered).await?;
    let planned = listed.clone();
    change(state, operation, move |import| import.files = planned).await?;
    Ok(listed)
}

/// Copies all files, a few at once. The first error ends it.
async fn copy_all(
    state: &AppState,
    folder: &Arc<Folder>,
    model: &Arc<copy::Target>,
    planned: Vec<RemoteFile>,
    copied: &Arc<AtomicU64>,
) -> Result<(), ServerError> {
    // What a file's copying needs is its own: tasks may not hold borrows of a stream's items.
    let one = |file: RemoteFile| {
        let (state, folder, model) = (state.clone(), Arc::clone(folder), Arc::clone(model));
        let copied = Arc::clone(copied);
        async move { copy::file(&state, &folder, &model, &file, &copied).await }
    };
    let mut copying = stream::iter(planned).map(one).buffer_unordered(IMPORT_FILES_AT_ONCE);
    while let Some(done) = copying.next().await {
        done?;
    }
    Ok(())
}

/// Writes from time to time how much is copied; returns only when that fails.
async fn note_progress(state: &AppState, operation: &Operation, copied: &AtomicU64) -> ServerError {
    let mut ticks = tokio::time::interval(IMPORT_SAVE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut noted = 0;
    loop {
        ticks.tick().await;
        let now = copied.load(Ordering::Relaxed);
        if now != noted {
            if let Err(error) = note(state, operation, now).await {
                return error;
            }
            noted = now;
        }
    }
}

async fn note(state: &AppState, operation: &Operation, copied_bytes: u64) -> Result<(), ServerError> {
    change(state, operation, move |import| import.copied_bytes = copied_bytes).await
}

async fn change(
    state: &AppState,
    operation: &Operation,
    change: impl FnOnce(&mut ModelImport) + Send,
) -> Result<(), ServerError> {
    let change = |operation: &mut Operation| {
        if let OperationWork::Import(import) = &mut operation.work {
            change(import);
        }
        operation.update_time_ms = crate::now_ms();
        Ok::<_, StoreError>(())
    };
    state.store().update(&operation.account, operation.id.as_str(), change).await?;
    Ok(())
}

/// What the bucket is read with. A secret leaves this function in a request's signature only.
async fn access(
    state: &AppState,
    operation: &Operation,
    import: &ModelImport,
) -> Result<AwsAccess, ServerError> {
    Ok(match &import.credentials {
        ImportCredentials::None => AwsAccess::Public,
        ImportCredentials::Role { arn } => {
            AwsAccess::Role { arn: arn.clone(), session: role_session(&operation.account) }
        }
        ImportCredentials::Given { access_key_id, sealed } => {
            let secret = state.store().operation_unseal(&operation.name(), sealed).await?;
            AwsAccess::Key(AccessKey { id: access_key_id.clone(), secret, token: None })
        }
        ImportCredentials::Secret { access_key_id, secret } => {
            let name = SecretRef { account: operation.account.clone(), id: secret.clone() };
            let value = state.store().secret_value(&name).await?;
            let key = access_key_of_secret(access_key_id, value.expose_secret());
            AwsAccess::Key(key.map_err(|what| ServerError::FailedPrecondition(format!("{name} {what}")))?)
        }
    })
}
