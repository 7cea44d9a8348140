//! Long-running operations: work that goes on after its call has returned, and after the server has.
//!
//! An operation's record says what is to be done, so a server that starts goes on with what an earlier one did not
//! end. How the work is divided into steps that can be repeated is a matter of each kind of work.

pub(crate) mod import;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use hearth_domain::{Model, ModelRef, Operation, OperationEnd, OperationWork, Promotion, Status};
use hearth_store::{Store, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::ServerError;
use crate::jobs::checkpoint;
use crate::limits::{IMPORTS_RUNNING_MAX, OPERATIONS_OPEN_MAX, PROMOTIONS_RUNNING_MAX};
use crate::state::AppState;

/// The operations of one server.
pub(crate) struct Operations {
    open: Arc<Semaphore>,
    promotions: Semaphore,
    imports: Semaphore,
    /// Models that are imported.
    imported: Arc<Mutex<BTreeSet<String>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The right to begin an operation.
#[derive(Debug)]
pub(crate) struct Place {
    _open: Option<OwnedSemaphorePermit>,
    imported: Arc<Mutex<BTreeSet<String>>>,
    model: Option<String>,
}

impl Place {
    /// The same, to import this model; FAILED_PRECONDITION while another operation does.
    pub(crate) fn for_model(mut self, name: &ModelRef) -> Result<Self, ServerError> {
        let model = name.to_string();
        if !self.imported.lock().unwrap_or_else(PoisonError::into_inner).insert(model.clone()) {
            return Err(ServerError::FailedPrecondition(format!(
                "model {name} is being imported; wait for that operation, or delete the model"
            )));
        }
        self.model = Some(model);
        Ok(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(model) = &self.model {
            self.imported.lock().unwrap_or_else(PoisonError::into_inner).remove(model);
        }
    }
}

/// Why an operation has not come to its end.
enum Ended {
    /// It cannot be done.
    Failed(ServerError),
    /// The server stops; the next one goes on.
    Stopped,
}

impl<E: Into<ServerError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Operations {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            open: Arc::new(Semaphore::new(OPERATIONS_OPEN_MAX)),
            promotions: Semaphore::new(PROMOTIONS_RUNNING_MAX),
            imports: Semaphore::new(IMPORTS_RUNNING_MAX),
            imported: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// The right to begin one; RESOURCE_EXHAUSTED if too many are open.
    pub(crate) fn place(&self) -> Result<Place, ServerError> {
        let open = Arc::clone(&self.open).try_acquire_owned().map_err(|_| {
            ServerError::ResourceExhausted(format!(
                "{OPERATIONS_OPEN_MAX} operations are not at their end yet; try again later"
            ))
        })?;
        Ok(self.place_with(Some(open)))
    }

    fn place_with(&self, open: Option<OwnedSemaphorePermit>) -> Place {
        Place { _open: open, imported: Arc::clone(&self.imported), model: None }
    }

    /// The right of an operation that had one before this server started; there are no more of them than places.
    fn earlier_place(&self, operation: &Operation) -> Place {
        let place = self.place_with(Arc::clone(&self.open).try_acquire_owned().ok());
        match &operation.work {
            OperationWork::Promote(_) => place,
            OperationWork::Import(import) => {
                let model = ModelRef { account: operation.account.clone(), id: import.model.clone() };
                // A model that was deleted and made again may be imported twice; the first import finds that it is gone.
                place.for_model(&model).unwrap_or_else(|_| self.place_with(None))
            }
        }
    }

    /// The right to make a model of a checkpoint; waits for it.
    pub(crate) async fn promotion_permit(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.promotions.acquire().await.expect("this semaphore is never closed")
    }

    /// Ends the tasks; what is not done is done by the next server.
    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Records an operation and begins it.
pub(crate) async fn begin(state: &AppState, operation: &Operation, place: Place) -> Result<(), ServerError> {
    state.store().create(operation).await?;
    spawn(state, operation.clone(), place);
    Ok(())
}

/// Goes on with what an earlier server did not end.
pub(crate) async fn resume(state: &AppState) -> Result<(), ServerError> {
    for operation in state.store().all::<Operation>().await? {
        if operation.end.is_none() {
            let place = state.operations().earlier_place(&operation);
            spawn(state, operation, place);
        }
    }
    Ok(())
}

/// Forgets what ended long ago.
pub(crate) async fn forget(store: &Store, now_ms: i64) -> Result<(), StoreError> {
    for operation in store.all::<Operation>().await? {
        if operation.is_forgotten(now_ms) {
            store.delete::<Operation>(&operation.account, operation.id.as_str()).await?;
        }
    }
    Ok(())
}

fn spawn(state: &AppState, operation: Operation, place: Place) {
    let (state_of_task, stop) = (state.clone(), state.operations().stop.clone());
    state.operations().tasks.spawn(async move {
        let _place = place;
        let state = state_of_task;
        let end = match run(&state, &operation, &stop).await {
            Ok(model) => OperationEnd::Made(Box::new(model)),
            Err(Ended::Failed(error)) => OperationEnd::Failed(error.status()),
            Err(Ended::Stopped) => return,
        };
        let ended = |operation: &mut Operation| {
            operation.finish(end, crate::now_ms());
            Ok::<_, StoreError>(())
        };
        if let Err(error) = state.store().update(&operation.account, operation.id.as_str(), ended).await {
            tracing::error!(operation = operation.name(), %error, "the end of an operation could not be recorded");
        }
    });
}

async fn run(state: &AppState, operation: &Operation, stop: &CancellationToken) -> Result<Model, Ended> {
    match &operation.work {
        OperationWork::Promote(promotion) => promote(state, operation, promotion, stop).await,
        OperationWork::Import(work) => {
            let _permit = tokio::select! {
                () = stop.cancelled() => return Err(Ended::Stopped),
                permit = state.operations().imports.acquire() => permit.expect("this semaphore is never closed"),
            };
            import::run(state, operation, work, stop).await
        }
    }
}

async fn promote(
    state: &AppState,
    operation: &Operation,
    promotion: &Promotion,
    stop: &CancellationToken,
) -> Result<Model, Ended> {
    let _permit = tokio::select! {
        () = stop.cancelled() => return Err(Ended::Stopped),
        permit = state.operations().promotion_permit() => permit,
    };
    let name = ModelRef { account: operation.account.clone(), id: promotion.output_model.clone() };
    let source = format!("accounts/{}/supervisedFineTuningJobs/{}", operation.account, promotion.job);
    // A server that was killed may have installed the model and not noted it.
    crate::state::sync_models(state.store()).await?;
    if let Ok(model) = state.store().model_get(&name).await
        && model.create_time_ms >= operation.create_time_ms
        && is_of(state, &name, &format!("{source}/checkpoints/{}", promotion.checkpoint)).await?
    {
        return Ok(model);
    }
    let job = match state.store().job_by_key(promotion.job_key).await? {
        Some(stored) => stored.job,
        None => return Err(ServerError::NotFound(format!("job {source} was deleted")).into()),
    };
    Ok(checkpoint::promote(state, &job, &promotion.checkpoint, &name, &operation.created_by).await?)
}

/// Whether an installed model was made of this.
async fn is_of(state: &AppState, name: &ModelRef, source: &str) -> Result<bool, ServerError> {
    let (data_dir, name) = (state.data_dir().to_owned(), name.clone());
    let read = move || hearth_store::installed::read(&data_dir, &name.account, &name.id);
    let found = tokio::task::spawn_blocking(read)
        .await
        .map_err(|source| ServerError::internal("reading a model", source))?;
    match found {
        Ok(installed) => Ok(installed.manifest.source == source),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What an operation's metadata says in words.
pub(crate) fn status_message(operation: &Operation) -> String {
    match &operation.end {
        Some(OperationEnd::Made(_)) => "done".to_owned(),
        Some(OperationEnd::Failed(Status { code, .. })) => format!("failed: {}", code.name()),
        None => match &operation.work {
            OperationWork::Promote(promotion) => {
                format!("making a model of checkpoint {}", promotion.checkpoint)
            }
            OperationWork::Import(import) => match (import.copied_bytes, import.total_bytes()) {
                (0, 0) => "looking for the files".to_owned(),
                (copied, total) if copied < total => format!("copied {copied} of {total} bytes"),
                _ => "checking the files".to_owned(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use hearth_domain::{AccountId, Code, JobId, ModelId, OperationId};

    use super::*;

    #[tokio::test]
    async fn what_ended_long_ago_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 1).await.unwrap();
        let account = AccountId::new("a").unwrap();
        let promotion = Promotion {
            job: JobId::new("j").unwrap(),
            job_key: 1,
            checkpoint: "c".to_owned(),
            output_model: ModelId::new("m").unwrap(),
        };
        let mut operation = Operation {
            account: account.clone(),
            id: OperationId::new("open").unwrap(),
            work: OperationWork::Promote(promotion),
            end: None,
            created_by: String::new(),
            create_time_ms: 1,
            update_time_ms: 1,
        };
        store.create(&operation).await.unwrap();
        operation.id = OperationId::new("ended").unwrap();
        operation.finish(OperationEnd::Failed(Status::default()), 5);
        store.create(&operation).await.unwrap();
        for (now_ms, left) in [(5, 2), (i64::MAX, 1)] {
            forget(&store, now_ms).await.unwrap();
            assert_eq!(store.all::<Operation>().await.unwrap().len(), left);
        }
        store.get::<Operation>(&account, "open").await.unwrap();
    }

    #[test]
    fn few_may_be_open() {
        let operations = Operations::new();
        let places: Vec<_> = (0..OPERATIONS_OPEN_MAX).map(|_| operations.place().unwrap()).collect();
        assert_eq!(operations.place().unwrap_err().code(), Code::ResourceExhausted);
        drop(places);
        assert!(operations.place().is_ok());
    }
}
