//! The checkpoints of a job: what is there, and making models of them.
//!
//! A trainer that lives removes old ones at any moment. So their files get second names first; what is made of them
//! then does not depend on the trainer.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use hearth_domain::schedule::may_have_run;
use hearth_domain::{Job, Model, ModelRef};
use hearth_inference::assemble::{self, AssembleError, TrainedAdapter};
use hearth_inference::{InferenceError, Service};
use hearth_run::checkpoint::{self, STATE_FILE, SUMS_FILE, TENSORS_FILE, directory_name, step_of};
use hearth_run::{EventKind, EventTail, RunDir};
use hearth_store::installed::Installed;
use hearth_store::{StoreError, installed};

use super::finish::{self, Scratch, Staged, Target};
use super::prepare::link_or_copy;
use crate::error::ServerError;
use crate::state::AppState;

/// Id of the adapter that a run ended with.
pub(crate) const FINAL: &str = "final";

/// File of the chat template of a model.
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its id: the name of its directory, or [`FINAL`].
    pub(crate) id: String,
    /// Optimiser steps that it has behind it.
    pub(crate) step: u64,
    /// When it was written.
    pub(crate) time_ms: i64,
}

impl Found {
    /// Whether it is the finished adapter.
    pub(crate) fn is_final(&self) -> bool {
        self.id == FINAL
    }

    /// Whether a model can be made of it. Before the first step an adapter changes nothing.
    pub(crate) fn is_promotable(&self) -> bool {
        self.step > 0
    }
}

/// The checkpoints of a job, the oldest first. Blocking.
pub(crate) fn list(data_dir: &Path, job: &Job) -> Result<Vec<Found>, ServerError> {
    if !may_have_run(job) {
        return Ok(Vec::new());
    }
    let dir = super::run_dir(data_dir, &job.account, &job.id);
    let failed = |source| ServerError::internal("listing the checkpoints of a run", source);
    let mut found = Vec::new();
    for step in checkpoint::steps(&dir.checkpoints_path()).map_err(failed)? {
        let id = checkpoint::directory_name(step);
        // One that was removed in this moment is not there.
        if let Some(time_ms) = modified_ms(&dir.checkpoints_path().join(&id)).map_err(failed)? {
            found.push(Found { id, step, time_ms });
        }
    }
    if let Some(time_ms) = modified_ms(&dir.output_path()).map_err(failed)? {
        // The last step has a checkpoint before the adapter is written.
        let step = match job.progress.output_step {
            0 => found.last().map_or(job.progress.total_steps, |last| last.step),
            step => step,
        };
        found.push(Found { id: FINAL.to_owned(), step, time_ms });
    }
    Ok(found)
}

fn modified_ms(path: &Path) -> std::io::Result<Option<i64>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Some(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

/// Fails with NOT_FOUND if a job has no checkpoint of this id, and with FAILED_PRECONDITION if no model can be made of it.
pub(crate) async fn must_be_promotable(state: &AppState, job: &Job, id: &str) -> Result<(), ServerError> {
    let (data_dir, of) = (state.data_dir().to_owned(), job.clone());
    let found = tokio::task::spawn_blocking(move || list(&data_dir, &of))
        .await
        .map_err(|source| ServerError::internal("listing the checkpoints of a run", source))??;
    match found.iter().find(|one| one.id == id) {
        None => Err(gone(job, id)),
        Some(one) if !one.is_promotable() => Err(ServerError::FailedPrecondition(format!(
            "checkpoint {id} was written before the first step; a model of it would be its base"
        ))),
        Some(_) => Ok(()),
    }
}

fn gone(job: &Job, id: &str) -> ServerError {
    ServerError::NotFound(format!(
        "there is no checkpoint {}/checkpoints/{id}; the newest two, those of every \
         samplerCheckpointSaveIntervalSteps steps and {FINAL:?} are kept",
        job.name()
    ))
}

/// ALREADY_EXISTS if there is a model of this name, or a job that is not at its end will make it.
pub(crate) async fn must_be_free(state: &AppState, name: &ModelRef) -> Result<(), ServerError> {
    crate::state::sync_models(state.store()).await?;
    match state.store().model_find(name).await {
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(ServerError::AlreadyExists(format!("model {name} exists already"))),
    }
    if state.store().job_will_make(name).await? {
        return Err(ServerError::AlreadyExists(format!("model {name} is being made by a job")));
    }
    Ok(())
}

/// Makes a model of a checkpoint: the same files, checks and manifest as those of a job's own output. Whatever goes
/// wrong leaves nothing.
pub(crate) async fn promote(
    state: &AppState,
    job: &Job,
    id: &str,
    name: &ModelRef,
    created_by: &str,
) -> Result<Model, ServerError> {
    let task = |source| ServerError::internal("making a model of a checkpoint", source);
    let staging = {
        let (state, job, id, name) = (state.clone(), job.clone(), id.to_owned(), name.clone());
        let created_by = created_by.to_owned();
        tokio::task::spawn_blocking(move || {
            let target = Target {
                name: &name,
                source: format!("{}/checkpoints/{id}", job.name()),
                created_by: &created_by,
                now_ms: crate::now_ms(),
            };
            let staged = stage(&state, &job, &id, &target)?;
            let model = finish::model(&job, &target, staged.manifest.clone());
            Ok::<_, ServerError>((staged, model))
        })
    };
    let (staged, model) = staging.await.map_err(task)??;
    // From here on nobody else can make or upload a model of this name.
    let _lock = state.model_lock(name).await;
    must_be_free(state, name).await?;
    let (data_dir, name) = (state.data_dir().to_owned(), name.clone());
    tokio::task::spawn_blocking(move || {
        installed::install(&data_dir, &name.account, &name.id, staged.dir(), &staged.manifest)
    })
    .await
    .map_err(task)??;
    state.store().model_installed(&model).await?;
    Ok(model)
}

/// Blocking.
fn stage(state: &AppState, job: &Job, id: &str, target: &Target<'_>) -> Result<Staged, ServerError> {
    let dir = super::run_dir(state.data_dir(), &job.account, &job.id);
    if id == FINAL {
        let sha256 = finished_sha256(&dir)?.ok_or_else(|| gone(job, id))?;
        return finish::stage_output(state.data_dir(), job, &dir, &sha256, target)
            .map_err(ServerError::Ended);
    }
    let step = step_of(id).ok_or_else(|| gone(job, id))?;
    let scratch = Scratch::new(state.data_dir())?;
    let (adapter, base) = adapter_of_step(state, job, &dir, step, &scratch)?;
    Staged::new(scratch, adapter, job, target, &base.manifest).map_err(ServerError::Ended)
}

/// Makes an adapter of the checkpoint of a step, in `scratch`, and checks it. Blocking.
fn adapter_of_step(
    state: &AppState,
    job: &Job,
    dir: &RunDir,
    step: u64,
    scratch: &Scratch,
) -> Result<(PathBuf, Installed), ServerError> {
    let id = &directory_name(step);
    let failed = |source| ServerError::internal("copying a checkpoint", source);
    let [saved, files, adapter] = ["checkpoint", "files", "adapter"].map(|name| scratch.folder(name));
    let (saved, files, adapter) = (saved.map_err(failed)?, files.map_err(failed)?, adapter.map_err(failed)?);
    for file in [STATE_FILE, TENSORS_FILE, SUMS_FILE] {
        match link_or_copy(&dir.checkpoints_path().join(id).join(file), &saved.join(file)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(gone(job, id)),
            done => done.map_err(failed)?,
        }
    }
    let read = checkpoint::read(&saved, step).map_err(|error| {
        ServerError::FailedPrecondition(format!("checkpoint {id} cannot be used: {error}"))
    })?;
    let spec = dir.job().map_err(|source| ServerError::internal("reading the settings of a run", source))?;
    let base_name = &job.settings.base_model;
    let base =
        installed::read(state.data_dir(), &base_name.account, &base_name.id).map_err(
            |error| match error {
                StoreError::NotFound { .. } => {
                    ServerError::FailedPrecondition(format!("the base {base_name} is not installed any more"))
                }
                other => other.into(),
            },
        )?;
    let chat_template = served_template(dir, spec.chat_template).map_err(failed)?;
    let settings = TrainedAdapter {
        base_name: &spec.base_model_name,
        r: spec.lora_rank,
        alpha: spec.lora_alpha,
        target_modules: &spec.target_modules,
        chat_template: chat_template.as_deref(),
    };
    let tensors = read
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice(), tensor.weight.as_slice()));
    assembled(state.inference(), &base.dir, &settings, tensors, &files, &adapter)?;
    // As beside the output. Runs of earlier versions have neither.
    hearth_run::write_with_adapter(dir, step, &adapter)
        .map_err(|source| ServerError::internal("writing the ledger of a checkpoint", source))?;
    Ok((adapter, base))
}

/// The chat template that goes with the adapters of a run: the trainer decides on it before its first step. Runs of
/// earlier versions have that of the job.
fn served_template(dir: &RunDir, of_the_job: Option<String>) -> std::io::Result<Option<String>> {
    let serving = dir.serving_path();
    if !serving.exists() {
        return Ok(of_the_job);
    }
    match fs::read_to_string(serving.join(TEMPLATE_FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// What answers for a checkpoint that stays, in the form of a model's directories: made when it is first asked for, in
/// the run directory, so that it goes with the job. `None` if the job keeps no checkpoint of this step. Blocking.
pub(crate) fn answering(
    state: &AppState,
    job: &Job,
    step: u64,
) -> Result<Option<hearth_inference::ModelRef>, ServerError> {
    let interval = u64::from(job.settings.sampler_checkpoint_save_interval_steps);
    let dir = super::run_dir(state.data_dir(), &job.account, &job.id);
    let id = directory_name(step);
    let stays = interval > 0 && step > 0 && step.is_multiple_of(interval) && may_have_run(job);
    if !stays || !dir.checkpoints_path().join(&id).exists() {
        return Ok(None);
    }
    let failed = |source| ServerError::internal("making the adapter of a checkpoint", source);
    let adapters = dir.root().join("adapters");
    let place = adapters.join(&id);
    let base = &job.settings.base_model;
    if !place.exists() {
        fs::create_dir_all(&adapters).map_err(failed)?;
        let scratch = Scratch::at(adapters.join(format!(".unfinished-{id}"))).map_err(failed)?;
        let (adapter, _) = adapter_of_step(state, job, &dir, step, &scratch)?;
        // Once it is in its place it is never made again, so a power cut must leave it whole or not there.
        installed::sync_all(&adapter)?;
        fs::rename(adapter, &place).map_err(failed)?;
        fs::File::open(&adapters).and_then(|adapters| adapters.sync_all()).map_err(failed)?;
    }
    let base = installed::read(state.data_dir(), &base.account, &base.id)?;
    Ok(Some(hearth_inference::ModelRef { base_dir: base.dir, adapter_dir: Some(place) }))
}

fn assembled<'a>(
    service: &Service,
    base_dir: &Path,
    settings: &TrainedAdapter<'_>,
    tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [f32])>,
    files: &Path,
    adapter: &Path,
) -> Result<(), ServerError> {
    match assemble::trained(service, base_dir, settings, tensors, files, adapter) {
        Ok(_) => Ok(()),
        Err(error @ AssembleError::Refused(_)) => {
            Err(ServerError::FailedPrecondition(format!("the checkpoint does not fit its base: {error}")))
        }
        Err(AssembleError::Check(InferenceError::QueueFull { .. })) => {
            Err(ServerError::Unavailable("too many chat templates are being rendered; try again".to_owned()))
        }
        Err(other) => Err(ServerError::internal("checking the adapter of a checkpoint", other)),
    }
}

/// Digest of the adapter of a run that came to its end.
fn finished_sha256(dir: &RunDir) -> Result<Option<String>, ServerError> {
    let events = EventTail::new(dir)
        .poll()
        .map_err(|source| ServerError::internal("reading the events of a run", source))?;
    Ok(events.into_iter().rev().find_map(|event| match event.kind {
        EventKind::Finished { adapter_sha256, .. } => Some(adapter_sha256),
        _ => None,
    }))
}
