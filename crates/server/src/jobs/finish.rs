//! From `output/` of a run to an installed model. Can be repeated: a server that died in between finds its own work.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use hearth_domain::{Code, Job, JobEvent, Model, ModelAbout, ModelKind, ModelRef, Status};
use hearth_run::RunDir;
use hearth_store::installed::{self, InstalledKind, ModelManifest};
use hearth_store::{Store, StoreError, StoredJob};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::prepare::link_or_copy;
use super::report::Finished;
use super::{io_status, store_status};

/// File that holds the adapter's weights.
const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// File that says what the adapter adapts.
const CONFIG_FILE: &str = "adapter_config.json";
/// Longest header of a safetensors file that is read.
const HEADER_MAX_BYTES: u64 = 16 << 20;

/// Which model an adapter of a job becomes.
pub(super) struct Target<'a> {
    pub(super) name: &'a ModelRef,
    /// What it is made of: the job, or one of its checkpoints.
    pub(super) source: String,
    /// Email of who makes it.
    pub(super) created_by: &'a str,
    pub(super) now_ms: i64,
}

/// Installs what a run made, and lets its job end well; or badly, if that cannot be done. The job as it stands then.
///
/// A user may stop the job meanwhile. Then it has made nothing: an adapter that was installed just now goes away again, so
/// that the job can go on.
pub(super) fn complete(
    store: &Store,
    runtime: &Handle,
    stored: &StoredJob,
    dir: &RunDir,
    finished: &Finished,
) -> Result<Job, StoreError> {
    let StoredJob { key, job } = stored;
    let now_ms = crate::now_ms();
    let (model, is_new) = match install(store.data_dir(), job, dir, finished, now_ms) {
        Ok(installed) => installed,
        Err(status) => {
            let fail = JobEvent::Fail(status);
            return runtime.block_on(store.job_transition(*key, None, &fail, now_ms));
        }
    };
    let event = if finished.is_early { JobEvent::FinishEarly } else { JobEvent::Finish };
    match runtime.block_on(store.job_finish(*key, &event, &model, now_ms)) {
        Err(StoreError::Transition(_)) if is_new => {
            installed::remove(store.data_dir(), &model.account, &model.id)?;
            let now = runtime.block_on(store.job_by_key(*key))?;
            Ok(now.map_or_else(|| job.clone(), |now| now.job))
        }
        done => done,
    }
}

/// Installs what a run made. The row of the model, and whether it was not there before. The error is the status that the
/// job fails with.
fn install(
    data_dir: &Path,
    job: &Job,
    dir: &RunDir,
    finished: &Finished,
    now_ms: i64,
) -> Result<(Model, bool), Status> {
    let name = &job.settings.output_model;
    let target = Target { name, source: job.name(), created_by: &job.created_by, now_ms };
    let (manifest, is_new) = match installed::read(data_dir, &name.account, &name.id) {
        Ok(there) if is_own(&there.manifest, job, finished) => (there.manifest, false),
        Ok(_) => {
            return Err(Status::new(
                Code::AlreadyExists,
                format!("model {name} was made by something else meanwhile; delete it and resume the job"),
            ));
        }
        Err(StoreError::NotFound { .. }) => {
            let staged = stage_output(data_dir, job, dir, &finished.adapter_sha256, &target)?;
            installed::install(data_dir, &name.account, &name.id, staged.dir(), &staged.manifest)
                .map_err(|error| store_status("installing the adapter", &error))?;
            (staged.manifest.clone(), true)
        }
        Err(error) => return Err(store_status("reading the model directory", &error)),
    };
    Ok((model(job, &target, manifest), is_new))
}

/// The row of a model that is made of a job's adapter.
pub(super) fn model(job: &Job, target: &Target<'_>, manifest: ModelManifest) -> Model {
    Model {
        account: target.name.account.clone(),
        id: target.name.id.clone(),
        display_name: manifest.display_name,
        about: ModelAbout::default(),
        upload: None,
        kind: ModelKind::Adapter {
            base_model: job.settings.base_model.clone(),
            r: manifest.r,
            target_modules: manifest.target_modules,
            fine_tuning_job: job.name(),
        },
        context_length: manifest.context_length,
        model_type: manifest.model_type,
        imported_from: String::new(),
        created_by: target.created_by.to_owned(),
        create_time_ms: manifest.create_time_ms,
        update_time_ms: manifest.create_time_ms,
    }
}

fn is_own(manifest: &ModelManifest, job: &Job, finished: &Finished) -> bool {
    let weights = manifest.files.get(WEIGHTS_FILE);
    manifest.source == job.name() && weights.is_some_and(|file| file.sha256 == finished.adapter_sha256)
}

/// A directory for files in the making. What is left of it goes away on drop.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// An empty one on the file system of the models.
    pub(super) fn new(data_dir: &Path) -> Result<Self, StoreError> {
        installed::stage(data_dir).map(Self)
    }

    /// An empty one in this place; what an earlier server left there goes away.
    pub(super) fn at(path: PathBuf) -> std::io::Result<Self> {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&path)?,
        }
        Ok(Self(path))
    }

    /// A new folder in it.
    pub(super) fn folder(&self, name: &str) -> std::io::Result<PathBuf> {
        let dir = self.0.join(name);
        fs::create_dir(&dir)?;
        Ok(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "a staging directory stays behind");
        }
    }
}

/// A complete adapter that is not in its place yet.
pub(super) struct Staged {
    _scratch: Scratch,
    dir: PathBuf,
    pub(super) manifest: ModelManifest,
}

impl Staged {
    /// Describes the adapter in `dir`, which lies in `scratch`. `base` is the manifest of its base.
    pub(super) fn new(
        scratch: Scratch,
        dir: PathBuf,
        job: &Job,
        target: &Target<'_>,
        base: &ModelManifest,
    ) -> Result<Self, Status> {
        let files =
            installed::digest_files(&dir).map_err(|error| store_status("reading the adapter", &error))?;
        let AdapterConfig { r, target_modules } = adapter_config(&dir.join(CONFIG_FILE))?;
        let settings = &job.settings;
        let manifest = ModelManifest {
            version: ModelManifest::VERSION,
            kind: InstalledKind::Adapter,
            display_name: settings.display_name.clone(),
            source: target.source.clone(),
            hub_id: None,
            parameter_count: weight_count(&dir.join(WEIGHTS_FILE))?,
            context_length: base.context_length,
            model_type: base.model_type.clone(),
            base_model: Some(settings.base_model.clone()),
            r,
            target_modules,
            files,
            create_time_ms: target.now_ms,
        };
        Ok(Self { _scratch: scratch, dir, manifest })
    }

    /// Where it lies.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Links `output/` of a run into a staging directory and checks the digest.
pub(super) fn stage_output(
    data_dir: &Path,
    job: &Job,
    dir: &RunDir,
    adapter_sha256: &str,
    target: &Target<'_>,
) -> Result<Staged, Status> {
    let settings = &job.settings;
    let base = installed::read(data_dir, &settings.base_model.account, &settings.base_model.id)
        .map_err(|error| store_status("reading the base model", &error))?;
    let scratch = Scratch::new(data_dir).map_err(|error| store_status("staging the adapter", &error))?;
    let to = scratch.folder("adapter").map_err(|error| io_status("staging the adapter", data_dir, &error))?;
    link_files(&dir.output_path(), &to)?;
    let staged = Staged::new(scratch, to, job, target, &base.manifest)?;
    if staged.manifest.files.get(WEIGHTS_FILE).map(|file| file.sha256.as_str()) != Some(adapter_sha256) {
        return Err(Status::new(Code::Internal, "the adapter on disk is not the one that was trained"));
    }
    Ok(staged)
}

fn link_files(from: &Path, to: &Path) -> Result<(), Status> {
    let failed = |error| io_status("copying the adapter", from, &error);
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        link_or_copy(&entry.path(), &to.join(entry.file_name())).map_err(failed)?;
    }
    Ok(())
}

/// What is read of `adapter_config.json`. The modules are those that the trainer adapted: a base that stores several as
/// one has other names than the job asked for.
#[derive(Deserialize)]
struct AdapterConfig {
    r: u32,
    target_modules: Vec<String>,
}

fn adapter_config(path: &Path) -> Result<AdapterConfig, Status> {
    let text = fs::read(path).map_err(|error| io_status("reading the adapter", path, &error))?;
    serde_json::from_slice(&text).map_err(|error| internal("reading the adapter", &error))
}

/// Sum of the sizes of all tensors, in weights, from the header of a safetensors file: eight bytes of little-endian
/// length and then JSON with a `shape` for each tensor.
fn weight_count(path: &Path) -> Result<u64, Status> {
    let failed = |error| io_status("reading the adapter", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(failed)?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length).min(HEADER_MAX_BYTES)).read_to_end(&mut header).map_err(failed)?;
    let header: serde_json::Value =
        serde_json::from_slice(&header).map_err(|error| internal("reading the adapter", &error))?;
    let shapes =
        header.as_object().into_iter().flatten().filter_map(|(_, tensor)| tensor["shape"].as_array());
    Ok(shapes.map(|shape| shape.iter().filter_map(serde_json::Value::as_u64).product::<u64>()).sum())
}

fn internal(doing: &str, error: &serde_json::Error) -> Status {
    tracing::error!(%error, "{doing} failed");
    Status::new(Code::Internal, format!("{doing} failed: {error}"))
}
