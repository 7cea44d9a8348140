//! The background of checks: a queue with a limit, and few threads that read rows.
//!
//! What is queued stands in the database. A server that starts queues again what an earlier one did not finish.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hearth_data::Renderer;
use hearth_domain::{
    AccountId, Code, DatasetReport, DatasetValidationFormat, DatasetValidationJob, DatasetValidationJobId,
    DatasetValidationResult, DatasetValidationState, ModelRef, Status,
};
use hearth_store::{StoreError, installed};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::task::JoinHandle;

use crate::error::ServerError;
use crate::gateway::dataset::check::uploaded_files;
use crate::gateway::dataset::findings::Findings;
use crate::gateway::dataset::rules::{Model, Rules, read_all, training};
use crate::gateway::dataset::stop::StopOnDrop;
use crate::limits::{VALIDATION_TIMEOUT, VALIDATIONS_QUEUED_MAX, VALIDATIONS_RUNNING_MAX};
use crate::state::AppState;

/// A check that is to be run.
type Key = (AccountId, DatasetValidationJobId);

/// The queue of checks.
pub(crate) struct Validations {
    queue: mpsc::Sender<Key>,
    /// The other end, until the runner starts.
    work: std::sync::Mutex<Option<mpsc::Receiver<Key>>>,
}

impl Validations {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let (queue, work) = mpsc::channel(VALIDATIONS_QUEUED_MAX);
        Self { queue, work: std::sync::Mutex::new(Some(work)) }
    }

    /// The right to add one; RESOURCE_EXHAUSTED if too many wait.
    pub(crate) fn place(&self) -> Result<OwnedPermit<Key>, ServerError> {
        self.queue.clone().try_reserve_owned().map_err(|_| {
            ServerError::ResourceExhausted(format!(
                "{VALIDATIONS_QUEUED_MAX} checks of datasets wait; try again later"
            ))
        })
    }
}

/// The tasks that check.
pub(crate) struct Runner {
    stop: Arc<Stop>,
    workers: Vec<JoinHandle<()>>,
}

/// Set when the server stops: what was broken off is not at its end.
type Stop = AtomicBool;

impl Runner {
    /// Works off the queue, after what an earlier server left.
    pub(crate) async fn start(state: &AppState) -> Result<Self, ServerError> {
        let queue = state.validations().work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let queue = queue.expect("a server has one runner");
        let open = state.store().dataset_validation_jobs_open().await?;
        let left: Vec<Key> = open.into_iter().map(|job| (job.account, job.id)).collect();
        let stop = Arc::<Stop>::default();
        let work = Arc::new(Mutex::new((left.into_iter(), queue)));
        let workers = (0..VALIDATIONS_RUNNING_MAX)
            .map(|_| tokio::spawn(worker(state.clone(), Arc::clone(&work), Arc::clone(&stop))))
            .collect();
        Ok(Self { stop, workers })
    }

    /// Breaks off what runs; the next server begins it again.
    pub(crate) async fn shutdown(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.abort();
            let _ = worker.await;
        }
    }
}

/// Checks still to be made: those of an earlier server first.
type Work = Mutex<(std::vec::IntoIter<Key>, mpsc::Receiver<Key>)>;

async fn worker(state: AppState, work: Arc<Work>, stop: Arc<Stop>) {
    loop {
        let next = {
            let (left, queue) = &mut *work.lock().await;
            match left.next() {
                Some(key) => Some(key),
                None => queue.recv().await,
            }
        };
        let Some((account, id)) = next else { return };
        if let Err(error) = run(&state, &account, &id, &stop).await {
            tracing::error!(%account, %id, %error, "a check of datasets could not be recorded");
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Runs one check from beginning to end. The error is that of the database.
async fn run(
    state: &AppState,
    account: &AccountId,
    id: &DatasetValidationJobId,
    stop: &Arc<Stop>,
) -> Result<(), StoreError> {
    let begin = |job: &mut DatasetValidationJob| {
        job.state = DatasetValidationState::Running;
        job.update_time_ms = crate::now_ms();
        Ok::<_, StoreError>(())
    };
    let job = state.store().update(account, id.as_str(), begin).await?;
    let found = within(VALIDATION_TIMEOUT, check(state, &job)).await;
    // What was broken off is begun again.
    if stop.load(Ordering::Relaxed) {
        return Ok(());
    }
    let end = |job: &mut DatasetValidationJob| {
        match found {
            Ok((findings, reports)) => {
                job.reports = reports;
                job.state = DatasetValidationState::Completed;
                job.result = Some(match findings.is_ok() {
                    true => DatasetValidationResult::Success,
                    false => DatasetValidationResult::Failure,
                });
                job.validation_error = findings.text();
            }
            Err(error) => {
                job.state = DatasetValidationState::Failed;
                job.status = status(&error);
            }
        }
        job.update_time_ms = crate::now_ms();
        Ok::<_, StoreError>(())
    };
    state.store().update(account, id.as_str(), end).await?;
    Ok(())
}

/// What comes of a check if it does not take longer than this; its threads end then too.
async fn within<T>(
    limit: Duration,
    check: impl Future<Output = Result<T, ServerError>>,
) -> Result<T, ServerError> {
    match tokio::time::timeout(limit, check).await {
        Ok(found) => found,
        Err(_) => Err(ServerError::DeadlineExceeded(format!(
            "the check took longer than {} minutes and was broken off; check fewer datasets at once, or divide this one",
            limit.as_secs() / 60
        ))),
    }
}

/// Reads the rows of all datasets of a check.
async fn check(
    state: &AppState,
    job: &DatasetValidationJob,
) -> Result<(Findings, Vec<DatasetReport>), ServerError> {
    let rules = rules(job.format);
    let model = match &job.base_model {
        Some(name) => Some(Arc::new(open_model(state, name).await?)),
        None => None,
    };
    let (mut all, mut reports) = (Findings::default(), Vec::new());
    let stop = StopOnDrop::default();
    for name in &job.datasets {
        let dataset = state.store().dataset_get(name).await?;
        let files = uploaded_files(state, &dataset)?;
        let (stop, model, read) = (stop.flag(), model.clone(), files.clone());
        let found = tokio::task::spawn_blocking(move || match model {
            Some(model) => training(&read, rules, Some(&model), &stop),
            None => read_all(&read, rules, &stop),
        });
        let found = found.await.map_err(|source| ServerError::internal("checking a dataset", source))??;
        reports.extend(found.report(name, &files, job.datasets.len()));
        let prefix = if job.is_single { String::new() } else { format!("{}/", name.id) };
        all.append(&prefix, found);
    }
    Ok((all, reports))
}

/// Opens what rows are tried and counted with.
async fn open_model(state: &AppState, name: &ModelRef) -> Result<Model, ServerError> {
    let model = state.store().model_find(name).await?;
    let installed = installed::read(state.data_dir(), &name.account, &name.id)?;
    let opening = tokio::task::spawn_blocking(move || Renderer::open(&installed.dir, None));
    let opened = opening.await.map_err(|source| ServerError::internal("opening a tokenizer", source))?;
    let renderer = opened.map_err(|source| ServerError::internal("opening a tokenizer", source))?;
    Ok(Model { renderer, context_length: model.context_length as usize })
}

fn rules(format: DatasetValidationFormat) -> Rules {
    match format {
        DatasetValidationFormat::Chat => Rules::Chat,
        DatasetValidationFormat::Training => Rules::Training,
        DatasetValidationFormat::ChatRelaxed => Rules::ChatRelaxed,
        DatasetValidationFormat::BatchInferenceStrict => Rules::Requests { strict: true },
        DatasetValidationFormat::BatchInferenceAllowTrailingAssistant
        | DatasetValidationFormat::BatchInference => Rules::Requests { strict: false },
    }
}

/// What a client learns of a check that could not be made.
fn status(error: &ServerError) -> Status {
    let status = error.status();
    match status.code {
        Code::NotFound => Status { code: Code::FailedPrecondition, ..status },
        _ => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_that_takes_too_long_is_broken_off() {
        let found = within(Duration::ZERO, std::future::pending::<Result<(), ServerError>>()).await;
        let status = status(&found.unwrap_err());
        assert_eq!(status.code, Code::DeadlineExceeded);
        assert!(status.message.contains("minutes and was broken off"), "{}", status.message);
        let in_time = within(VALIDATION_TIMEOUT, std::future::ready(Ok(7))).await;
        assert_eq!(in_time.unwrap(), 7);
    }

    #[test]
    fn few_checks_may_wait() {
        let validations = Validations::new();
        let places: Vec<_> = (0..VALIDATIONS_QUEUED_MAX).map(|_| validations.place().unwrap()).collect();
        assert_eq!(validations.place().unwrap_err().code(), Code::ResourceExhausted);
        drop(places);
        assert!(validations.place().is_ok());
    }
}
