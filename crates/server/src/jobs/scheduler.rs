//! The loop: read what is, ask `domain::schedule`, do it, and look again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hearth_domain::schedule::{
    Action, JobView, LOSSES_WITHOUT_PROGRESS_MAX, Limits, Run, Share, Snapshot, may_have_run, schedule,
};
use hearth_domain::{Code, Job, JobEvent, JobState, Status};
use hearth_remote::Services;
use hearth_run::{Backend, RunError};
use hearth_store::{RunReport, Store, StoreError, StoredJob};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::attempt::{Attempt, Work};
use super::{fetch, finish, io_status, prepare, report, run_dir};
use crate::error::ServerError;
use crate::limits::{TRAINER_MEMORY_PERCENT, WAITING_LINE_MAX};

/// What runs the jobs of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// Processes on the server's own machine.
    Local,
}

impl Executor {
    /// Reads its name in configurations.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "local" => Some(Self::Local),
            _ => None,
        }
    }
}

/// How the jobs of a server run.
#[derive(Clone, Debug)]
pub struct JobsConfig {
    /// Trainers at once, what they may take, and who goes first.
    pub limits: Limits,
    /// Names of the regions that jobs may ask for, each with what runs its jobs; the first is that of jobs that name
    /// none.
    pub regions: Vec<(String, Executor)>,
    /// Memory that the machine can give now, in bytes; `None` if it does not say so.
    pub free_memory: fn() -> Option<u64>,
    /// Program and first arguments of a trainer; the run directory follows.
    pub trainer: Vec<OsString>,
    /// The same of what fetches rows that lie elsewhere; it is told over its standard input which, and what opens them.
    pub fetcher: Vec<OsString>,
    /// Backend of new runs; `reference` is for checks and slow.
    pub backend: Backend,
    /// Time between two looks when nobody wakes the loop.
    pub poll_interval: Duration,
    /// A trainer whose heartbeat stands still for so long is killed, and its job goes on with another.
    pub silence_max: Duration,
}

/// How long a trainer may give no sign of life. Its heart beats each second, in a thread that does nothing else; only a
/// machine that is out of memory holds that up for long.
pub const TRAINER_SILENCE_MAX: Duration = Duration::from_secs(60);

impl JobsConfig {
    /// One trainer at a time, which is this executable with the argument `train`.
    pub fn of_this_executable() -> io::Result<Self> {
        let executable: OsString = std::env::current_exe()?.into();
        Ok(Self {
            limits: Limits::default(),
            regions: Vec::new(),
            free_memory: || None,
            trainer: vec![executable.clone(), "train".into()],
            fetcher: vec![executable, "fetch-rows".into()],
            backend: Backend::default(),
            poll_interval: Duration::from_millis(500),
            silence_max: TRAINER_SILENCE_MAX,
        })
    }
}

/// The running loop. It has a thread of its own, because it reads and links files.
pub struct Scheduler {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    wake: Arc<Notify>,
}

impl Scheduler {
    /// Starts the loop in the current tokio runtime. Notify `wake` when a job was made or changed.
    pub fn start(store: Store, config: JobsConfig, storage: Services, wake: Arc<Notify>) -> io::Result<Self> {
        assert!(!config.trainer.is_empty() && !config.fetcher.is_empty(), "commands are not empty");
        let stop = Arc::new(AtomicBool::new(false));
        let runtime = Handle::current();
        let (stop_seen, woken) = (Arc::clone(&stop), Arc::clone(&wake));
        let thread = std::thread::Builder::new().name("hearth-jobs".to_owned()).spawn(move || {
            let poll_interval = config.poll_interval;
            let mut jobs =
                Jobs { store, config, storage, runtime, attempts: BTreeMap::new(), unseen: BTreeSet::new() };
            let mut adopted = false;
            while !stop_seen.load(Ordering::Acquire) {
                let round = AssertUnwindSafe(|| {
                    if !adopted {
                        jobs.adopt()?;
                    }
                    jobs.look()
                });
                match catch_unwind(round) {
                    Ok(Ok(())) => adopted = true,
                    Ok(Err(error)) => log("looking at the jobs", &error),
                    Err(_) => {
                        // The next round begins like a server that has just started.
                        tracing::error!("the job scheduler panicked; it begins anew");
                        jobs.attempts.clear();
                        adopted = false;
                    }
                }
                // Woken or not, the loop looks again.
                let _ = jobs.runtime.block_on(async { timeout(poll_interval, woken.notified()).await });
            }
        })?;
        Ok(Self { thread, stop, wake })
    }

    /// Ends the loop after what it is doing. Trainers go on.
    pub async fn shutdown(self) {
        self.stop.store(true, Ordering::Release);
        self.wake.notify_one();
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the job scheduler panicked");
        }
    }
}

struct Jobs {
    store: Store,
    config: JobsConfig,
    storage: Services,
    runtime: Handle,
    /// By the key of the job's row.
    attempts: BTreeMap<i64, Attempt>,
    /// Jobs that could not be looked at in the last round, which the log says once.
    unseen: BTreeSet<i64>,
}

impl Jobs {
    /// Finds the trainers of jobs that are at rest: they were being stopped when an earlier server died.
    fn adopt(&mut self) -> Result<(), ServerError> {
        for StoredJob { key, job } in self.runtime.block_on(self.store.job_all())? {
            let run = run_dir(self.store.data_dir(), &job.account, &job.id);
            let mut attempt = Attempt::new(run, self.config.silence_max);
            if !may_have_run(&job) {
                continue;
            }
            match attempt.is_live() {
                Ok(false) => continue,
                Ok(true) => {
                    tracing::info!(job = job.name(), state = %job.state, "found a trainer of an earlier server");
                }
                // The rounds try again. One that cannot be looked at keeps no other from being found.
                Err(error) => log("looking for a trainer of an earlier server", &run_error(error)),
            }
            self.attempts.insert(key, attempt);
        }
        Ok(())
    }

    /// One round.
    fn look(&mut self) -> Result<(), ServerError> {
        let mut jobs = self.runtime.block_on(self.store.job_unfinished(WAITING_LINE_MAX))?;
        for &key in self.attempts.keys() {
            if !jobs.iter().any(|stored| stored.key == key) {
                jobs.extend(self.runtime.block_on(self.store.job_by_key(key))?);
            }
        }
        let mut views = Vec::new();
        let mut unseen = BTreeSet::new();
        for stored in &mut jobs {
            let run = self.watch(stored).unwrap_or_else(|error| {
                if !self.unseen.contains(&stored.key) {
                    log("watching a run", &error);
                }
                unseen.insert(stored.key);
                Run::Unseen { was_live: self.attempts.get(&stored.key).is_some_and(Attempt::was_live) }
            });
            views.push(JobView::new(stored.key, &stored.job, run));
        }
        self.unseen = unseen;
        // What it costs to find out who goes first is paid only when somebody waits.
        let usage = match views.iter().any(|view| view.state.is_waiting()) {
            true => self.runtime.block_on(self.store.usage_list())?,
            false => BTreeMap::new(),
        };
        let snapshot = Snapshot { jobs: views, usage, free_memory_bytes: self.memory_for_trainer() };
        for action in schedule(&snapshot, &self.config.limits, crate::now_ms()) {
            let stored = jobs
                .iter()
                .find(|stored| stored.key == action.key())
                .expect("an action is about a job of the snapshot");
            if let Err(error) = self.act(action, &stored.job) {
                log("acting on a job", &error);
            }
        }
        // What is at rest and has no trainer need not be watched.
        for view in snapshot.jobs.iter().filter(|view| view.run == Run::Gone && is_at_rest(view.state)) {
            self.attempts.remove(&view.key);
        }
        Ok(())
    }

    /// Asks whether the job's trainer lives, and then takes in what it said.
    fn watch(&mut self, stored: &mut StoredJob) -> Result<Run, ServerError> {
        if !may_have_run(&stored.job) {
            return Ok(Run::Gone);
        }
        let attempt = self.attempt(stored.key, &stored.job);
        let live = attempt.is_live().map_err(run_error)?;
        let run = attempt.run(live);
        let untold = attempt.untold_failure().filter(|_| !live);
        if !stored.job.state.is_waiting() {
            self.follow(stored)?;
        }
        if let (true, Some(status)) = (stored.job.state.is_active(), untold) {
            stored.job = self.change(stored.key, &JobEvent::Fail(status))?;
        }
        Ok(run)
    }

    /// What is known of the trainer of a job.
    fn attempt(&mut self, key: i64, job: &Job) -> &mut Attempt {
        let (store, silence_max) = (&self.store, self.config.silence_max);
        let new = || Attempt::new(run_dir(store.data_dir(), &job.account, &job.id), silence_max);
        self.attempts.entry(key).or_insert_with(new)
    }

    /// Takes in the events of a run, and installs what it made if it is finished.
    fn follow(&mut self, stored: &mut StoredJob) -> Result<(), ServerError> {
        let attempt = self.attempts.get_mut(&stored.key).expect("a watched job has an attempt");
        let events = attempt.poll().map_err(run_error)?;
        if events.last().is_none_or(|event| event.seq <= stored.job.events_read) {
            return Ok(());
        }
        let (report, finished) = report::read(&stored.job, &events, attempt.unwatched());
        let (store, runtime) = (&self.store, &self.runtime);
        let followed = runtime.block_on(store.job_follow(stored.key, &report, crate::now_ms()));
        let taken = followed.and_then(|job| {
            stored.job = job;
            match finished {
                // A user may have cancelled or deleted it between the two.
                Some(finished) if stored.job.state == JobState::WritingResults => {
                    finish::complete(store, runtime, stored, attempt.dir(), &finished)
                }
                _ => Ok(stored.job.clone()),
            }
        });
        match taken {
            Ok(job) => {
                stored.job = job;
                Ok(())
            }
            Err(error) => {
                // What was not written down is read again.
                attempt.rewind();
                Err(error.into())
            }
        }
    }

    fn act(&mut self, action: Action, job: &Job) -> Result<(), ServerError> {
        let name = job.name();
        match action {
            Action::Start(key, share) => self.start(key, job, share)?,
            Action::Requeue(key) => {
                tracing::warn!(job = name, "the trainer is gone; its job goes on from the last checkpoint");
                self.change(key, &JobEvent::Lose)?;
            }
            Action::GiveUp(key) => {
                let last = self.attempts.get(&key).and_then(Attempt::last_exit).unwrap_or("nobody saw how");
                let status = Status::new(
                    Code::Internal,
                    format!(
                        "the trainer ended {} times in a row without a word and without a new step (last time: \
                         {last}); its log, trainerLogsSignedUrl, says more",
                        LOSSES_WITHOUT_PROGRESS_MAX + 1
                    ),
                );
                self.change(key, &JobEvent::Fail(status))?;
            }
            Action::Refuse(key, too_large) => {
                let status = Status::new(Code::ResourceExhausted, too_large.message());
                self.change(key, &JobEvent::Fail(status))?;
            }
            Action::Expire(key) => {
                tracing::info!(job = name, "the job waited too long");
                self.change(key, &JobEvent::Expire(waited_too_long(&self.config.limits)))?;
            }
            Action::Stop(key) => {
                if self.attempts.get_mut(&key).expect("a live run has an attempt").stop() {
                    tracing::info!(job = name, "asked the trainer to stop");
                }
            }
            Action::Kill(key) => {
                tracing::warn!(job = name, "killing the trainer");
                self.attempts.get_mut(&key).expect("a live run has an attempt").kill();
            }
            Action::Remove(key) => {
                remove_dir(run_dir(self.store.data_dir(), &job.account, &job.id).root())?;
                self.runtime.block_on(self.store.job_remove(key))?;
                self.attempts.remove(&key);
            }
        }
        Ok(())
    }

    /// Starts a trainer in the written run directory, or what fetches the rows that are still missing there.
    fn start(&mut self, key: i64, job: &Job, share: Share) -> Result<(), ServerError> {
        let attempt = self.attempt(key, job);
        if attempt.is_live().map_err(run_error)? {
            // One of an earlier server; from now on it is watched, and stopped first.
            return Ok(());
        }
        let dir = attempt.dir().clone();
        let ready =
            fetch::request(&self.store, &self.runtime, &self.storage, job, &dir).and_then(|missing| {
                if missing.is_none() {
                    prepare::prepare(&self.store, &self.runtime, self.config.backend, job, &dir)?;
                }
                Ok(missing)
            });
        let missing = match ready {
            Ok(missing) => missing,
            // The next round tries again.
            Err(status) if status.code == Code::Unavailable => return Err(ServerError::Ended(status)),
            Err(status) => {
                self.change(key, &JobEvent::Fail(status))?;
                return Ok(());
            }
        };
        let attempt = self.attempt(key, job);
        attempt.rewind();
        let events = attempt.poll().map_err(run_error)?;
        attempt.rewind();
        let report = RunReport {
            events_read: report::events_before_start(&events),
            progress: job.progress,
            ..RunReport::default()
        };
        let (event, command, what) = match &missing {
            Some(_) => (JobEvent::Fetch, &self.config.fetcher, "the process that fetches rows"),
            None => (JobEvent::Start, &self.config.trainer, "the trainer"),
        };
        let now_ms = crate::now_ms();
        self.runtime.block_on(async {
            self.store.job_follow(key, &report, now_ms).await?;
            // Whoever cancelled the job meanwhile wins.
            self.store.job_start(key, job.state, &event, share, now_ms).await
        })?;
        tracing::info!(job = job.name(), "starting {what}");
        let work = match missing {
            Some(told) => Work::Fetch(told),
            None => {
                let memory_bytes = match (share.memory_bytes, self.memory_for_trainer()) {
                    (0, _) => None,
                    (bytes, free) => Some(bytes.min(free.unwrap_or(u64::MAX))),
                };
                Work::Train { threads: share.threads, memory_bytes }
            }
        };
        let attempt = self.attempts.get_mut(&key).expect("made above");
        if let Err(error) = attempt.launch(command, &work) {
            let status = io_status(&format!("starting {what}"), dir.root(), &error);
            self.change(key, &JobEvent::Fail(status))?;
        }
        Ok(())
    }

    /// What a trainer that starts now may take at most.
    fn memory_for_trainer(&self) -> Option<u64> {
        (self.config.free_memory)().map(|bytes| bytes / 100 * TRAINER_MEMORY_PERCENT)
    }

    fn change(&self, key: i64, event: &JobEvent) -> Result<Job, StoreError> {
        self.runtime.block_on(self.store.job_transition(key, None, event, crate::now_ms()))
    }
}

fn is_at_rest(state: JobState) -> bool {
    state.is_final() || state == JobState::Paused
}

/// Status of a job that expires.
fn waited_too_long(limits: &Limits) -> Status {
    let hours = limits.wait_max_ms.unwrap_or_default() / 3_600_000;
    let message = format!(
        "the job waited {hours} hours for a trainer, which is as long as this server lets a job wait (hearth serve \
         --job-wait-max); resume it to let it wait again"
    );
    Status::new(Code::DeadlineExceeded, message)
}

fn remove_dir(path: &Path) -> Result<(), ServerError> {
    let failed = |error| ServerError::internal("removing a run directory", error);
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(failed)?,
    }
    // If it came back after a power cut, a new job of its name would go on with it.
    let parent = path.parent().expect("a run directory has a parent");
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)
}

fn run_error(error: RunError) -> ServerError {
    ServerError::internal("reading a run directory", error)
}

fn log(doing: &str, error: &ServerError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "{doing} failed");
}
