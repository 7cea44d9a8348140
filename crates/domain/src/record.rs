//! The records: what is known about each resource. Times are milliseconds since the Unix epoch.

use serde::{Deserialize, Serialize};

use crate::code::Status;
use crate::id::{AccountId, JobId, ModelId, ModelRef};
use crate::job::JobSettings;
use crate::state::{JobEvent, JobState, TransitionError, transition};

/// Owner of everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Id.
    pub id: AccountId,
    /// For people.
    pub display_name: String,
    /// Address of the owner; may be empty.
    pub email: String,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

impl Account {
    /// Id of the pseudo-account that owns the base models of the catalogue. Every key may read it, none may change it.
    pub const CATALOGUE: &str = "fireworks";

    /// `accounts/{account}`.
    pub fn name(&self) -> String {
        format!("accounts/{}", self.id)
    }
}

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
    /// How far it is.
    pub progress: JobProgress,
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
}

impl Job {
    /// `accounts/{account}/supervisedFineTuningJobs/{job}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/supervisedFineTuningJobs/{}", self.account, self.id)
    }

    /// Changes the state by the one table of [`transition`], with the status and the times that belong to it.
    pub fn apply(&mut self, event: &JobEvent, now_ms: i64) -> Result<(), TransitionError> {
        let next = transition(self.state, event)?;
        match event {
            JobEvent::Fail(status) => self.status = status.clone(),
            JobEvent::Resume => {
                self.status = Status::default();
                self.losses_without_progress = 0;
            }
            JobEvent::Lose => self.losses_without_progress += 1,
            JobEvent::Finish => self.progress.step = self.progress.total_steps,
            JobEvent::Fetch
            | JobEvent::Fetched
            | JobEvent::FinishEarly
            | JobEvent::Start
            | JobEvent::Validate
            | JobEvent::Write
            | JobEvent::Pause
            | JobEvent::Cancel
            | JobEvent::Delete => {}
        }
        self.state = next;
        self.update_time_ms = now_ms;
        self.completed_time_ms = next.is_final().then_some(now_ms);
        Ok(())
    }

    /// Takes over progress that a run reports. It never goes back, even when a restarted run repeats steps.
    pub fn advance(&mut self, progress: JobProgress, now_ms: i64) {
        let old = self.progress;
        if progress.step > old.step {
            self.losses_without_progress = 0;
        }
        self.progress = JobProgress {
            step: old.step.max(progress.step),
            total_steps: if progress.total_steps == 0 { old.total_steps } else { progress.total_steps },
            epoch: old.epoch.max(progress.epoch),
            rows: old.rows.max(progress.rows),
            tokens: old.tokens.max(progress.tokens),
        };
        self.update_time_ms = now_ms;
    }
}
