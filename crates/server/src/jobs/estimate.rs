//! What jobs will take: a process of the trainer's program reads their rows and says it, and nothing is trained.
//!
//! [`Estimators`] does it for one job, for `:estimateCost` and for jobs that wait. The loop of [`run`] goes through those
//! as they are to start, accounts in turn, at the lowest priority: a trainer never waits for it. A job is not started
//! before somebody has tried to say what it takes; one whose rows lie elsewhere is asked about again when they are here.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hearth_domain::schedule::{JobView, Limits, Run, Snapshot, may_have_run, next_to_count};
use hearth_domain::{Code, Estimate, Job, JobEstimate, ModelKind, Status, TrainingPrices};
use hearth_run::{Backend, EstimateReply, RunDir};
use hearth_store::{SecretKeys, Store, StoreError, StoredJob};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{JobsConfig, fetch, io_status, prepare, report, run_dir};
use crate::limits::WAITING_LINE_MAX;

/// Longest time that the rows of a waiting job are read for; then the job starts without an estimate.
const TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// Largest reply of a process: its message names a limited number of rows.
const REPLY_MAX_BYTES: u64 = 1 << 20;
/// Where a process writes what is wrong with itself, in its run directory.
const LOG_FILE: &str = "estimate.log";
/// Most of that that goes into the server's log.
const LOGGED_MAX_BYTES: u64 = 4096;
/// Time between two looks when nobody wakes the loop.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Time until a failed look is repeated.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// As polite as a process can be.
const NICENESS: i32 = 19;

/// Says what jobs will take.
#[derive(Clone)]
pub(crate) struct Estimators {
    store: Store,
    /// Program and first arguments of a trainer.
    trainer: Arc<[OsString]>,
    backend: Backend,
    prices: Arc<TrainingPrices>,
    /// Of trainers, and who goes first.
    limits: Arc<Limits>,
}

impl Estimators {
    /// Removes what an earlier server left.
    pub(crate) fn new(store: &Store, config: &JobsConfig, prices: TrainingPrices) -> io::Result<Self> {
        match fs::remove_dir_all(dir(store.data_dir())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            store: store.clone(),
            trainer: config.trainer.clone().into(),
            backend: config.backend,
            prices: Arc::new(prices),
            limits: Arc::new(config.limits.clone()),
        })
    }

    /// Of a server without a trainer.
    #[cfg(test)]
    pub(crate) fn without_trainer(store: &Store) -> Self {
        let trainer = ["false".into()].into();
        Self {
            store: store.clone(),
            trainer,
            backend: Backend::Cpu,
            prices: Arc::default(),
            limits: Arc::default(),
        }
    }

    /// Reads, renders and packs the rows as the trainer of this job would. The error is the status that the job would
    /// fail with. Dropping the future ends the process.
    pub(crate) async fn count(&self, job: &Job, niceness: i32) -> Result<hearth_run::Estimate, Status> {
        let place = Place(dir(self.store.data_dir()).join(format!("{:016x}", rand::random::<u64>())));
        let run = RunDir::new(&place.0);
        let (store, backend, job, runtime) =
            (self.store.clone(), self.backend, job.clone(), Handle::current());
        let prepared = {
            let run = run.clone();
            tokio::task::spawn_blocking(move || {
                if may_have_run(&job) {
                    let own = run_dir(store.data_dir(), &job.account, &job.id);
                    fetch::lend(&own, &run)?;
                }
                prepare::prepare(&store, &runtime, backend, &job, &run)
            })
            .await
        };
        prepared.map_err(|error| failed(&error))??;
        match self.ask(run.root(), niceness).await.map_err(|error| failed(&error))? {
            EstimateReply::Estimated(counted) => Ok(counted),
            EstimateReply::Failed { kind, message } => Err(Status::new(report::failure_code(kind), message)),
        }
    }

    pub(super) async fn ask(&self, run: &Path, niceness: i32) -> io::Result<EstimateReply> {
        let (program, arguments) = self.trainer.split_first().expect("the trainer's command is not empty");
        let log = run.join(LOG_FILE);
        let mut child = Command::new(program)
            .args(arguments)
            .arg("--estimate")
            .arg(run)
            // The time is that of a trainer, which has the threads of one place.
            .arg(format!("--threads={}", self.limits.threads_per_trainer()))
            .env_remove(SecretKeys::VARIABLE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
        if let Some(pid) = pid.filter(|_| niceness > 0) {
            // One that has ended already needs no manners.
            let _ = rustix::process::setpriority_process(Some(pid), niceness);
        }
        let mut reply = Vec::new();
        let stdout = child.stdout.take().expect("it is piped");
        stdout.take(REPLY_MAX_BYTES).read_to_end(&mut reply).await?;
        let status = child.wait().await?;
        serde_json::from_slice(&reply).map_err(|_| {
            let why = first_words(&log).unwrap_or_default();
            io::Error::other(format!("the process ended with {status} and no reply: {why:?}"))
        })
    }

    /// What was counted, with its price on a base of so many parameters.
    pub(crate) fn known(&self, parameters: u64, counted: &hearth_run::Estimate) -> Estimate {
        Estimate {
            tokens: counted.tokens,
            cost: self.prices.of(parameters, counted.tokens),
            memory_bytes_low: counted.memory_bytes.low,
            memory_bytes_high: counted.memory_bytes.high,
            least_memory_bytes: counted.least_memory_bytes,
            seconds_low: counted.seconds.low,
            seconds_high: counted.seconds.high,
        }
    }

    /// What the loop finds out about a waiting job.
    async fn of(&self, job: &Job) -> Result<JobEstimate, StoreError> {
        let counted = match tokio::time::timeout(TIME_MAX, self.count(job, NICENESS)).await {
            Ok(Ok(counted)) => counted,
            Ok(Err(status)) => {
                // Not the message: a chat template may have put a row into it.
                tracing::info!(job = job.name(), code = ?status.code, "what the job takes cannot be said");
                return Ok(JobEstimate::Unknown);
            }
            Err(_) => {
                tracing::warn!(job = job.name(), "reading the rows took too long to say what the job takes");
                return Ok(JobEstimate::Unknown);
            }
        };
        let parameters = match self.store.model_find(&job.settings.base_model).await {
            Ok(model) => match model.kind {
                ModelKind::Base { parameter_count } => parameter_count,
                ModelKind::Adapter { .. } => 0,
            },
            Err(StoreError::NotFound { .. }) => return Ok(JobEstimate::Unknown),
            Err(error) => return Err(error),
        };
        Ok(JobEstimate::Known(self.known(parameters, &counted)))
    }

    /// The waiting job that is to be counted next.
    async fn next(&self) -> Result<Option<StoredJob>, StoreError> {
        let jobs = self.store.job_unfinished(WAITING_LINE_MAX).await?;
        // Whether a process is there makes no difference to what it takes.
        let views = jobs.iter().map(|stored| JobView::new(stored.key, &stored.job, Run::Gone)).collect();
        let usage = self.store.usage_list().await?;
        let snapshot = Snapshot { jobs: views, usage, free_memory_bytes: None };
        let next = next_to_count(&snapshot, &self.limits, crate::now_ms());
        Ok(jobs.into_iter().find(|stored| Some(stored.key) == next))
    }

    async fn look(&self, wake_scheduler: &Notify) -> Result<bool, StoreError> {
        let Some(StoredJob { key, job }) = self.next().await? else { return Ok(false) };
        let estimate = self.of(&job).await?;
        self.store.job_set_estimate(key, &estimate).await?;
        wake_scheduler.notify_one();
        Ok(true)
    }
}

/// Says what waiting jobs will take, one after the other, until `stop`. `wake` tells of new ones.
pub(crate) async fn run(
    estimators: Estimators,
    wake: Arc<Notify>,
    wake_scheduler: Arc<Notify>,
    stop: CancellationToken,
) {
    let work = async {
        loop {
            match estimators.look(&wake_scheduler).await {
                Ok(true) => {}
                Ok(false) => {
                    // Woken or not, the loop looks again.
                    let _ = tokio::time::timeout(POLL_INTERVAL, wake.notified()).await;
                }
                Err(error) => {
                    tracing::error!(%error, "looking at jobs that wait for an estimate failed");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Where run directories are that are only read.
fn dir(data_dir: &Path) -> PathBuf {
    data_dir.join("estimates")
}

/// Removed when it is dropped.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // For the log; the next start removes it.
                let _ = io_status("removing what was made for an estimate", &self.0, &error);
            }
            _ => {}
        }
    }
}

/// What a process wrote first, for the log of the server. The message of a panic may quote a row; its place does not.
fn first_words(log: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    fs::File::open(log)?.take(LOGGED_MAX_BYTES).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let end = text.find(" panicked at ").and_then(|at| Some(at + text[at..].find('\n')?));
    Ok(text[..end.unwrap_or(text.len())].to_owned())
}

fn failed(error: &dyn std::error::Error) -> Status {
    tracing::error!(%error, "estimating what a job takes failed");
    Status::new(Code::Internal, "the process that reads the rows failed; the server's log says why")
}
