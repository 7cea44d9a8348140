//! One job's run of Weights & Biases: what is new of it is sent, and what was sent is written down.

use std::time::{Duration, Instant};

use hearth_domain::job::WandbSettings;
use hearth_domain::{Job, JobEvent, JobNews, JobNote, JobSettings, JobState, transition};
use hearth_run::{EventKind, EventTail, RunDir};
use hearth_store::{Store, StoreError, StoredJob, WandbProgress};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::api::{Api, Chunk, Place, Trouble};
use super::figures::Watched;
use super::history::History;
use super::patience::Patience;
use crate::limits::{
    WANDB_AFTER_END_MAX, WANDB_FIGURES_INTERVAL, WANDB_HEARTBEAT, WANDB_ROWS_AT_ONCE, WANDB_SEND_INTERVAL,
};

/// What is known of a run between two looks; all that must survive stands in the store.
#[derive(Debug)]
pub(super) struct Follow {
    key: i64,
    tail: EventTail,
    history: History,
    progress: WandbProgress,
    summary: Map<String, Value>,
    figures: Vec<String>,
    figures_read: Option<Instant>,
    trainer: Option<Watched>,
    place: Option<Place>,
    sent: Option<Instant>,
    patience: Patience,
}

/// What comes after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Look again after this time.
    In(Duration),
    /// There is nothing more to do.
    Never,
}

impl Follow {
    /// Goes on where an earlier server stopped. `None`: the job has no run.
    pub(super) async fn open(store: &Store, key: i64) -> Result<Option<Self>, StoreError> {
        let Some(stored) = store.job_by_key(key).await? else { return Ok(None) };
        let Some(progress) = store.wandb_progress(key).await? else { return Ok(None) };
        Ok(Some(Self {
            key,
            tail: EventTail::new(&run_dir(store, &stored.job)),
            history: History::after(progress.last_step),
            progress,
            summary: Map::new(),
            figures: Vec::new(),
            figures_read: None,
            trainer: None,
            place: None,
            sent: None,
            patience: Patience::default(),
        }))
    }

    /// One look.
    pub(super) async fn look(&mut self, store: &Store, api: &Api) -> Result<Next, StoreError> {
        let Some(stored) = store.job_by_key(self.key).await? else { return Ok(Next::Never) };
        let Some(wandb) = stored.job.settings.wandb.clone() else { return Ok(Next::Never) };
        let key = match store.wandb_key(&stored).await {
            Ok(Some(key)) => key,
            Ok(None) => return Ok(Next::Never),
            Err(StoreError::WrongState { .. }) => {
                let why = "its key is encrypted with a key that this server does not have any more";
                return self.give_up(store, why).await;
            }
            Err(error) => return Err(error),
        };
        self.read(store, &stored.job);
        match self.send(store, api, &key, &stored, &wandb).await? {
            Ok(is_over) => {
                self.patience = Patience::default();
                if is_over {
                    self.end(store, &stored.job).await?;
                    return Ok(Next::Never);
                }
                Ok(Next::In(if stored.job.state.is_active() { WANDB_SEND_INTERVAL } else { WANDB_HEARTBEAT }))
            }
            Err(trouble) => self.fail(store, &stored.job, trouble).await,
        }
    }

    /// Takes in what the run has said.
    fn read(&mut self, store: &Store, job: &Job) {
        let events = match self.tail.poll() {
            Ok(events) => events,
            // The scheduler says what it means for the job; what was read before is sent.
            Err(error) => {
                tracing::warn!(job = job.name(), %error, "no more of a run can be read for Weights & Biases");
                Vec::new()
            }
        };
        for event in &events {
            if let EventKind::Started { pid, .. } = event.kind {
                self.trainer = Some(Watched::new(pid));
            }
            self.history.take(event);
        }
        if job.state.is_final() {
            self.history.release();
        }
        let is_due = self.figures_read.is_none_or(|read| read.elapsed() >= WANDB_FIGURES_INTERVAL);
        if let Some(trainer) = self.trainer.as_mut().filter(|_| is_due && job.state.is_active()) {
            // A process id is only the trainer's as long as that holds its lock.
            if !run_dir(store, job).is_live().unwrap_or(false) {
                return;
            }
            let mut figures = trainer.figures();
            if figures.is_empty() {
                tracing::debug!(pid = trainer.pid(), "the system tells nothing of a trainer");
                return;
            }
            self.figures_read = Some(Instant::now());
            let now_ms = crate::now_ms();
            figures.insert("_wandb".to_owned(), true.into());
            figures.insert("_timestamp".to_owned(), (now_ms as f64 / 1000.0).into());
            figures.insert("_runtime".to_owned(), self.history.runtime(now_ms).into());
            // As many as wait are kept; what happens while the service is away for long is the history's to tell.
            if self.figures.len() < WANDB_ROWS_AT_ONCE {
                self.figures.push(Value::Object(figures).to_string());
            }
        }
    }

    /// Sends all that there is. True if that was the end.
    async fn send(
        &mut self,
        store: &Store,
        api: &Api,
        key: &SecretString,
        stored: &StoredJob,
        wandb: &WandbSettings,
    ) -> Result<Result<bool, Trouble>, StoreError> {
        let job = &stored.job;
        let place = match &self.place {
            Some(place) => place.clone(),
            None => match begin(api, key, job, wandb).await {
                Ok(place) => {
                    store.wandb_begun(self.key, &place.entity, &api.page(&place)).await?;
                    self.place.insert(place).clone()
                }
                Err(trouble) => return Ok(Err(trouble)),
            },
        };
        loop {
            let rows = &self.history.ready()[..self.history.ready().len().min(WANDB_ROWS_AT_ONCE)];
            let count = rows.len();
            let is_last = job.state.is_final() && count == self.history.ready().len();
            let is_silent = self.sent.is_none_or(|sent| sent.elapsed() >= WANDB_HEARTBEAT);
            if count == 0 && self.figures.is_empty() && !is_last && !is_silent {
                return Ok(Ok(false));
            }
            let mut progress = self.progress.clone();
            progress.rows_sent += count as u64;
            progress.figures_sent += self.figures.len() as u64;
            progress.last_step = rows.last().map(|row| row.step).or(progress.last_step);
            let mut summary = self.summary.clone();
            for row in rows {
                summary.extend(row.values.clone());
            }
            let chunk = Chunk {
                history: (count > 0)
                    .then(|| (self.progress.rows_sent, rows.iter().map(|row| row.text()).collect())),
                figures: (!self.figures.is_empty())
                    .then(|| (self.progress.figures_sent, self.figures.clone())),
                summary: (count > 0).then(|| with_runtime(&summary)),
                exit_code: is_last.then(|| exit_code(job.state)),
            };
            if let Err(trouble) = api.send(key, &place, &chunk).await {
                return Ok(Err(trouble));
            }
            // Killed before this is written, a server sends the same rows to the same places again.
            store.wandb_sent(self.key, &progress).await?;
            self.history.sent(count);
            self.figures.clear();
            (self.progress, self.summary, self.sent) = (progress, summary, Some(Instant::now()));
            if is_last {
                return Ok(Ok(true));
            }
        }
    }

    /// Something was not taken in: it is tried again later, or given up.
    async fn fail(&mut self, store: &Store, job: &Job, trouble: Trouble) -> Result<Next, StoreError> {
        let pause = self.patience.after(&trouble, Instant::now());
        let (Trouble::Final(why) | Trouble::WrongKey(why) | Trouble::Refused(why) | Trouble::Away(why)) =
            trouble;
        let Some(pause) = pause else { return self.give_up(store, &why).await };
        if let Some(ended_ms) = job.completed_time_ms.filter(|_| job.state.is_final()) {
            let since = crate::now_ms().saturating_sub(ended_ms);
            if since > i64::try_from(WANDB_AFTER_END_MAX.as_millis()).unwrap_or(i64::MAX) {
                return self.give_up(store, &why).await;
            }
        }
        if self.patience.is_first() {
            let message = format!(
                "Weights & Biases did not take in the metrics: {why}; the job goes on, and they are sent again later"
            );
            self.warn(store, message).await?;
        }
        Ok(Next::In(pause))
    }

    /// All was sent. The key of a job that can be resumed is kept for a while.
    async fn end(&self, store: &Store, job: &Job) -> Result<(), StoreError> {
        match transition(job.state, &JobEvent::Resume) {
            Ok(_) => store.wandb_end_told(self.key, job, crate::now_ms()).await,
            Err(_) => store.wandb_done(self.key).await,
        }
    }

    async fn give_up(&self, store: &Store, why: &str) -> Result<Next, StoreError> {
        let message = format!("nothing more is sent to Weights & Biases: {why}");
        self.warn(store, message).await?;
        store.wandb_done(self.key).await?;
        Ok(Next::Never)
    }

    async fn warn(&self, store: &Store, message: String) -> Result<(), StoreError> {
        let news = JobNews { time_ms: crate::now_ms(), note: JobNote::Warning, message };
        store.job_tell(self.key, &news).await
    }
}

/// Makes the run, or finds that of an earlier server. One that others have written is left as it is.
async fn begin(api: &Api, key: &SecretString, job: &Job, wandb: &WandbSettings) -> Result<Place, Trouble> {
    let wanted =
        Place { entity: wandb.entity.clone(), project: wandb.project.clone(), run: wandb.run_id.clone() };
    // Its address is taken down before the first row is sent.
    if wandb.url.is_empty() {
        let rows = api.rows(key, &wanted).await?;
        if rows > 0 {
            return Err(Trouble::Final(format!(
                "project {} has a run {} with {rows} rows already; leave runId out, or choose another",
                wanted.project, wanted.run
            )));
        }
    }
    api.begin(key, &wanted, &display_name(job), &config(&job.settings)).await
}

fn run_dir(store: &Store, job: &Job) -> RunDir {
    crate::jobs::run_dir(store.data_dir(), &job.account, &job.id)
}

fn display_name(job: &Job) -> String {
    match job.settings.display_name.as_str() {
        "" => job.id.to_string(),
        name => name.to_owned(),
    }
}

fn exit_code(state: JobState) -> i32 {
    i32::from(!matches!(state.name(), "COMPLETED" | "EARLY_STOPPED"))
}

/// The settings of a job as the config of a run. They hold no secrets.
fn config(settings: &JobSettings) -> Value {
    let mut all = serde_json::to_value(settings).expect("settings are plain data");
    let map = all.as_object_mut().expect("settings are an object");
    // What opens the rows is nobody else's business, be it only a name.
    for own in ["wandb", "aws_s3_config", "azure_blob_storage_config"] {
        map.remove(own);
    }
    map.insert("dataset".to_owned(), settings.dataset.to_string().into());
    map.insert("base_model".to_owned(), settings.base_model.to_string().into());
    map.insert("output_model".to_owned(), settings.output_model.to_string().into());
    let evaluation = settings.evaluation_dataset.as_ref().map(ToString::to_string);
    map.insert("evaluation_dataset".to_owned(), evaluation.into());
    map.iter().map(|(name, value)| (name.clone(), json!({ "value": value }))).collect::<Map<_, _>>().into()
}

/// The summary, with the time that the run took where the service looks for it.
fn with_runtime(summary: &Map<String, Value>) -> String {
    let mut summary = summary.clone();
    let runtime = summary.get("_runtime").and_then(Value::as_f64).unwrap_or(0.0) as u64;
    summary.insert("_wandb".to_owned(), json!({ "runtime": runtime }));
    Value::Object(summary).to_string()
}
