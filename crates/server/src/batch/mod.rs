//! Batch inference: jobs whose rows a model answers, beside the chats of people.
//!
//! One job runs at a time, the oldest first. Its rows become chat requests, a few at once, and each answer is a line of
//! the job's journal, in the order of the rows. A server that is killed goes on behind the last whole line. At the end
//! the journal becomes the files of the output dataset. Jobs of a suspended account wait until that ends, and others go
//! before them.

mod dir;
mod journal;
mod output;
mod row;
mod run;

use hearth_domain::{BatchInferenceJob, BatchState, Code, Status};
use hearth_store::StoreError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use dir::JobDir;
pub(crate) use output::forget;
pub(crate) use row::of_parameters;

use crate::error::ServerError;
use crate::limits::BATCH_RETRY_INTERVAL;
use crate::state::AppState;

/// The running loop.
pub(crate) struct BatchRunner {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl BatchRunner {
    /// Starts the loop in the current tokio runtime.
    pub(crate) fn start(state: AppState) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(work(state, stop.clone()));
        Self { task, stop }
    }

    /// Ends the loop. Rows that are being answered are answered again by the next server.
    pub(crate) async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the runner of batch inference failed");
        }
    }
}

async fn work(state: AppState, stop: CancellationToken) {
    if let Err(error) = dir::sweep(&state).await {
        log("removing what deleted batch jobs left", &error);
    }
    loop {
        let waited = match step(&state, &stop).await {
            Ok(true) => continue,
            Ok(false) => None,
            Err(error) => {
                log("running a batch job", &error);
                Some(BATCH_RETRY_INTERVAL)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = state.batch_woken().notified() => {}
            () = async {
                match waited {
                    Some(time) => tokio::time::sleep(time).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}

/// Runs the oldest job that is not at its end and whose account is not suspended, until it is at its end, its account is
/// suspended, or until `stop`. False if there is none.
async fn step(state: &AppState, stop: &CancellationToken) -> Result<bool, ServerError> {
    if stop.is_cancelled() {
        return Ok(false);
    }
    let Some(job) = state.store().batch_inference_job_next().await? else { return Ok(false) };
    match run::run(state, &job, stop).await {
        Ok(()) => Ok(!stop.is_cancelled()),
        Err(run::Ended::Failed(status)) => {
            change(state, &job, |job| {
                job.state = BatchState::Failed;
                job.status = status;
            })
            .await?;
            output::forget(state, &job).await?;
            Ok(true)
        }
        Err(run::Ended::Deleted) => {
            JobDir::of(state, &job).remove()?;
            Ok(true)
        }
        Err(run::Ended::Broken(error)) => Err(error),
    }
}

/// Changes the record of a job. `None` if the job is deleted.
async fn change(
    state: &AppState,
    job: &BatchInferenceJob,
    change: impl FnOnce(&mut BatchInferenceJob) + Send,
) -> Result<Option<BatchInferenceJob>, ServerError> {
    let created = job.create_time_ms;
    let result = state
        .store()
        .update(&job.account, job.id.as_str(), |found: &mut BatchInferenceJob| {
            // Another job may have the name by now.
            if found.create_time_ms != created {
                return Err(StoreError::NotFound { kind: "batch inference job", name: found.name() });
            }
            change(found);
            found.update_time_ms = crate::now_ms();
            Ok(())
        })
        .await;
    match result {
        Ok(job) => Ok(Some(job)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a job that cannot go on says.
fn precondition(message: impl Into<String>) -> Status {
    Status::new(Code::FailedPrecondition, message)
}

fn log(doing: &str, error: &ServerError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "{doing} failed");
}
