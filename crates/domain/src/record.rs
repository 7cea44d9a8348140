//! The records: what is known about each resource. Times are milliseconds since the Unix epoch.

use serde::{Deserialize, Serialize};

use crate::code::{Code, Status};
use crate::estimate::JobEstimate;
use crate::id::{AccountId, JobId, ModelId, ModelRef};
use crate::job::JobSettings;
use crate::schedule::Share;
use crate::state::{JobEvent, JobState, TransitionError, Wish, transition};

/// Status of a job that its user paused.
const PAUSED_BY_USER: &str = "paused on request; resume it to let it go on from its last checkpoint";
/// Status of a job whose trainer somebody stopped who is not this server.
const PAUSED_FROM_OUTSIDE: &str =
    "its trainer was asked to stop from outside and left a checkpoint; resume the job to let it go on";

/// What a model is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelKind {
    /// Whole weights.
    Base {
        /// Number of weights.
        parameter_count: u64,
    },
    /// A LoRA adapter.
    Adapter {
        /// Resource name of the base.
        base_model: ModelRef,
        /// Rank.
        r: u32,
        /// Adapted layers, in PEFT's names.
        target_modules: Vec<String>,
        /// Resource name of the job that made it; empty if it was imported.
        fine_tuning_job: String,
    },
}

/// What people read about a model; nothing is done with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelAbout {
    /// A text.
    pub description: String,
    /// Its repository on GitHub.
    pub github_url: String,
    /// Its page on the Hugging Face hub.
    pub hugging_face_url: String,
}

/// A file that is to be uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Name, with at most one folder before it.
    pub name: String,
    /// Announced size; 0 if it is not known.
    pub size_bytes: u64,
}

/// A model on its way in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUpload {
    /// What is wrong with its files, or OK.
    pub status: Status,
    /// The files that it will have, sorted by name.
    pub files: Vec<ModelFile>,
}

/// A model: installed in the data directory, or on its way there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: ModelId,
    /// For people.
    pub display_name: String,
    /// For people.
    #[serde(default)]
    pub about: ModelAbout,
    /// While its files are being uploaded; nothing can use it then.
    #[serde(default)]
    pub upload: Option<ModelUpload>,
    /// Base or adapter. Of one that is being uploaded, only what its maker said.
    pub kind: ModelKind,
    /// Longest sequence, in tokens.
    pub context_length: u32,
    /// Architecture, as `config.json` names it, for example `llama`.
    pub model_type: String,
    /// Where it came from; empty if a job made it.
    pub imported_from: String,
    /// Email of who made it.
    pub created_by: String,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

impl Model {
    /// Most files of one model.
    pub const FILES_MAX: usize = 1000;

    /// Its resource name, as a typed reference.
    pub fn name(&self) -> ModelRef {
        ModelRef { account: self.account.clone(), id: self.id.clone() }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobProgress {
    /// Optimiser steps done.
    pub step: u64,
    /// Optimiser steps of the whole run; 0 until they are known.
    pub total_steps: u64,
    /// Whole epochs done.
    pub epoch: u32,
    /// Rows in the dataset; 0 until they are known.
    pub rows: u64,
    /// Tokens processed.
    pub tokens: u64,
    /// Rows gone through, each once for every epoch.
    #[serde(default)]
    pub samples: u64,
    /// Bytes of rows that were fetched, as of the last time that fetching began.
    #[serde(default)]
    pub fetched_bytes: u64,
    /// Step of the adapter that became the model; 0 until it did.
    #[serde(default)]
    pub output_step: u64,
}

impl JobProgress {
    /// Share of the steps that are done, 0 to 100, rounded down.
    pub fn percent(&self) -> u32 {
        if self.total_steps == 0 {
            return 0;
        }
        (self.step.min(self.total_steps) * 100 / self.total_steps) as u32
    }
}

/// A supervised fine-tuning job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: JobId,
    /// Every setting, with defaults filled in.
    pub settings: JobSettings,
    /// Where it stands.
    pub state: JobState,
    /// Why it failed, or OK.
    pub status: Status,
    /// What is to be known of its rows, for people: see [`Job::note`].
    #[serde(default)]
    pub rows_note: String,
    /// What its trainer warned of before its first step: see [`Job::note`].
    #[serde(default)]
    pub run_note: String,
    /// How far it is.
    pub progress: JobProgress,
    /// What it is expected to take.
    #[serde(default)]
    pub estimate: JobEstimate,
    /// Times that its trainer was lost since the last step that it made.
    pub losses_without_progress: u32,
    /// Sequence number of the last event of its run that was taken in; 0 before the first.
    pub events_read: u64,
    /// Email of who made it.
    pub created_by: String,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
    /// When it came to an end.
    pub completed_time_ms: Option<i64>,
    /// What its user asked for last; `None` if nothing since it was made.
    #[serde(default)]
    pub last_wish: Option<Wish>,
    /// It is PAUSED because its account is suspended, and goes on when that ends.
    #[serde(default)]
    pub is_suspended: bool,
    /// Since when it waits for a trainer, if it does. Records of earlier builds do not say it.
    #[serde(default)]
    pub waiting_since_ms: Option<i64>,
    /// Since when a trainer works for it, if one does.
    #[serde(default)]
    pub active_since_ms: Option<i64>,
    /// A process was started for it at least once, so that it may have one whatever its state is. Records of earlier
    /// builds do not say it.
    #[serde(default)]
    pub has_started: bool,
    /// What its last trainer was given.
    #[serde(default)]
    pub share: Share,
}

impl Job {
    /// A new job that waits for its turn.
    pub fn new(account: AccountId, id: JobId, settings: JobSettings, created_by: &str, now_ms: i64) -> Self {
        Self {
            account,
            id,
            settings,
            state: JobState::Pending,
            status: Status::default(),
            rows_note: String::new(),
            run_note: String::new(),
            progress: JobProgress::default(),
            estimate: JobEstimate::default(),
            losses_without_progress: 0,
            events_read: 0,
            created_by: created_by.to_owned(),
            create_time_ms: now_ms,
            update_time_ms: now_ms,
            completed_time_ms: None,
            last_wish: None,
            is_suspended: false,
            waiting_since_ms: Some(now_ms),
            active_since_ms: None,
            has_started: false,
            share: Share::default(),
        }
    }

    /// `accounts/{account}/supervisedFineTuningJobs/{job}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/supervisedFineTuningJobs/{}", self.account, self.id)
    }

    /// What a user's wish does to the job: `None` if it has taken effect before, so that a repeated call changes
    /// nothing and has the same answer.
    pub fn wish(&self, wish: Wish) -> Result<Option<JobEvent>, TransitionError> {
        let event = wish.event();
        let rests = self.state == JobState::Paused && !self.is_suspended;
        let done = match wish {
            Wish::Pause => rests && self.last_wish == Some(Wish::Pause),
            Wish::Cancel => self.state == JobState::Cancelled,
            Wish::Resume => self.last_wish == Some(Wish::Resume) && transition(self.state, &event).is_err(),
        };
        if done {
            return Ok(None);
        }
        transition(self.state, &event).map(|_| Some(event))
    }

    /// Changes the state by the one table of [`transition`], with the status and the times that belong to it.
    pub fn apply(&mut self, event: &JobEvent, now_ms: i64) -> Result<(), TransitionError> {
        let next = transition(self.state, event)?;
        match event {
            JobEvent::Unsuspend if !self.is_suspended => {
                return Err(TransitionError { state: self.state, event: event.name() });
            }
            JobEvent::Fail(status) | JobEvent::Expire(status) => self.status = status.clone(),
            JobEvent::Resume | JobEvent::Unsuspend => {
                self.status = Status::default();
                self.losses_without_progress = 0;
            }
            JobEvent::Pause => self.status = Status::new(Code::Ok, PAUSED_BY_USER),
            JobEvent::Interrupt => self.status = Status::new(Code::Ok, PAUSED_FROM_OUTSIDE),
            JobEvent::Suspend => {
                let message =
                    format!("account {} is suspended; the job goes on when that ends", self.account);
                self.status = Status::new(Code::FailedPrecondition, message);
            }
            JobEvent::Cancel => self.status = Status::default(),
            JobEvent::Lose => self.losses_without_progress += 1,
            JobEvent::Finish => self.progress.step = self.progress.total_steps,
            JobEvent::Fetched => {
                self.losses_without_progress = 0;
                // Now there are rows to count.
                self.estimate = JobEstimate::Waiting;
            }
            JobEvent::Fetch
            | JobEvent::FinishEarly
            | JobEvent::Start
            | JobEvent::Validate
            | JobEvent::Write
            | JobEvent::Delete => {}
        }
        match event {
            JobEvent::Pause => self.last_wish = Some(Wish::Pause),
            JobEvent::Resume => self.last_wish = Some(Wish::Resume),
            JobEvent::Cancel => self.last_wish = Some(Wish::Cancel),
            _ => {}
        }
        self.is_suspended = *event == JobEvent::Suspend;
        self.has_started |= matches!(event, JobEvent::Start | JobEvent::Fetch);
        self.waiting_since_ms = next.is_waiting().then_some(now_ms);
        self.active_since_ms = match event {
            JobEvent::Start => Some(now_ms),
            _ => self.active_since_ms.filter(|_| next.is_active()),
        };
        self.state = next;
        self.touch(now_ms);
        self.completed_time_ms = next.is_final().then_some(self.update_time_ms);
        Ok(())
    }

    /// What is to be known of its rows and of its run, for people; the message of a status that is OK.
    pub fn note(&self) -> String {
        let separator = if self.rows_note.is_empty() || self.run_note.is_empty() { "" } else { "; " };
        format!("{}{separator}{}", self.rows_note, self.run_note)
    }

    /// Takes over progress that a run reports. It never goes back, even when a restarted run repeats steps.
    pub fn advance(&mut self, progress: JobProgress, now_ms: i64) {
        let old = self.progress;
        if progress.step > old.step || progress.fetched_bytes > old.fetched_bytes {
            self.losses_without_progress = 0;
        }
        self.progress = JobProgress {
            step: old.step.max(progress.step),
            total_steps: if progress.total_steps == 0 { old.total_steps } else { progress.total_steps },
            epoch: old.epoch.max(progress.epoch),
            rows: old.rows.max(progress.rows),
            tokens: old.tokens.max(progress.tokens),
            samples: old.samples.max(progress.samples),
            fetched_bytes: old.fetched_bytes.max(progress.fetched_bytes),
            output_step: progress.output_step,
        };
        self.touch(now_ms);
    }

    /// Notes a change. A clock that was set back makes no job younger.
    fn touch(&mut self, now_ms: i64) {
        self.update_time_ms = self.update_time_ms.max(now_ms);
    }
}
