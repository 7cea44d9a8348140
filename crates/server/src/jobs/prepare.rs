//! From a job's settings to its run directory: links to its rows, and `job.json` with nothing left open.

use std::fs;
use std::path::{Path, PathBuf};

use hearth_data::carve;
use hearth_data::template::{as_given, history, source_of};
use hearth_domain::JobSettings;
use hearth_domain::job::{self, EARLY_STOP_MIN_GAIN, EARLY_STOP_PATIENCE, LrScheduler};
use hearth_domain::{Code, DatasetRef, Job, ModelRef, Status};
use hearth_remote::fetch::Fetched;
use hearth_run::{
    Backend, DataOrigin, EarlyStop, FACTS_FILE, JobSpec, LORA_TARGETS, LrSchedule, MICRO_BATCH_TOKENS,
    Precision, RunDir, RunError, SAMPLER_CHECKPOINTS_MAX,
};
use hearth_store::installed::{self, ModelManifest};
use hearth_store::{ObjectKey, Store, StoreError};
use tokio::runtime::Handle;

use super::{io_status, store_status};

/// Seed of every job: the same settings and rows give the same adapter.
const SEED: u64 = 0;
/// Steps between checkpoints: a lost trainer repeats at most as many.
const CHECKPOINT_INTERVAL_STEPS: u32 = 20;
/// Steps between evaluations besides those at the end of each epoch.
const EVAL_INTERVAL_STEPS: u32 = 0;
/// Files of an adapter that a run goes on from.
const ADAPTER_FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];
// What a job is refused for and what its run would fail at is the same number.
const _: () = assert!(SAMPLER_CHECKPOINTS_MAX == job::SAMPLER_CHECKPOINTS_MAX);
// Steps are counted without the rows that the trainer sets aside.
const _: () = assert!(carve::ROWS_PER_ROW as u64 == job::CARVEOUT_ROWS_PER_ROW);
const _: () = assert!(carve::ROWS_MAX as u64 == job::CARVEOUT_ROWS_MAX);

/// Fills the run directory, unless it is filled already. `job.json` comes last: what has it is complete.
///
/// The error is the status that the job fails with.
pub(super) fn prepare(
    store: &Store,
    runtime: &Handle,
    backend: Backend,
    job: &Job,
    dir: &RunDir,
) -> Result<(), Status> {
    if dir.job_path().exists() {
        return Ok(());
    }
    let settings = &job.settings;
    let (train_files, mut data_origins) = link_rows(store, runtime, dir, &settings.dataset, "train")?;
    let (eval_files, eval_origins) = match &settings.evaluation_dataset {
        Some(dataset) => link_rows(store, runtime, dir, dataset, "eval")?,
        None => Default::default(),
    };
    data_origins.extend(eval_origins);
    let base = installed::read(store.data_dir(), &settings.base_model.account, &settings.base_model.id)
        .map_err(|error| status_of("reading the base model", &error))?;
    let warm_start_dir = match &settings.warm_start_from {
        Some(adapter) => Some(link_adapter(store, dir, adapter)?),
        None => None,
    };
    let chat_template = own_template(store.data_dir(), &settings.into(), &base.dir)?;
    let spec = JobSpec {
        version: JobSpec::VERSION,
        base_model_name: base_model_name(&base.name, &base.manifest),
        base_model_dir: base.dir,
        train_files,
        eval_files,
        eval_carveout: settings.eval_auto_carveout,
        early_stop: settings
            .early_stop
            .then_some(EarlyStop { patience: EARLY_STOP_PATIENCE, min_gain: EARLY_STOP_MIN_GAIN }),
        warm_start_dir,
        warm_start_name: settings.warm_start_from.as_ref().map(ToString::to_string),
        data_origins,
        chat_template,
        seed: SEED,
        epochs: settings.epochs,
        learning_rate: settings.learning_rate,
        learning_rate_warmup_steps: settings.learning_rate_warmup_steps,
        lr_schedule: match settings.lr_scheduler {
            LrScheduler::Constant => LrSchedule::Constant,
            LrScheduler::Linear => LrSchedule::Linear,
            LrScheduler::Cosine { min_lr_ratio, decay_ratio } => {
                LrSchedule::Cosine { min_ratio: min_lr_ratio, decay_ratio }
            }
        },
        weight_decay: settings.optimizer_weight_decay,
        lora_rank: settings.lora_rank,
        lora_alpha: settings.lora_alpha,
        target_modules: match settings.target_modules.as_slice() {
            [] => LORA_TARGETS.map(str::to_owned).to_vec(),
            carried => carried.to_vec(),
        },
        max_context_length: settings.max_context_length,
        batch_size_tokens: settings.batch_size,
        batch_size_samples: settings.batch_size_samples,
        gradient_accumulation_steps: settings.gradient_accumulation_steps,
        micro_batch_tokens: MICRO_BATCH_TOKENS,
        checkpoint_interval_steps: CHECKPOINT_INTERVAL_STEPS,
        sampler_checkpoint_interval_steps: settings.sampler_checkpoint_save_interval_steps,
        eval_interval_steps: EVAL_INTERVAL_STEPS,
        backend,
        precision: match (settings.is_turbo, backend) {
            // The trainer refuses it where it cannot be had.
            (true, _) => Precision::Int8,
            (false, Backend::Cpu) => Precision::Bf16,
            (false, Backend::Reference) => Precision::F32,
        },
        threads: 0,
    };
    dir.create(&spec).map_err(|error| run_status("writing the run directory", dir, error))
}

fn run_status(doing: &str, dir: &RunDir, error: RunError) -> Status {
    match error {
        RunError::Io { path, source, .. } => io_status(doing, &path, &source),
        other => {
            tracing::error!(path = %dir.root().display(), error = %other, "{doing} failed");
            Status::new(Code::Internal, format!("{doing} failed: {other}"))
        }
    }
}

/// What a job's chat template depends on beside its base.
#[derive(Clone, Debug)]
pub(crate) struct TemplateChoice {
    pub(crate) jinja_template: Option<String>,
    pub(crate) warm_start_from: Option<ModelRef>,
    pub(crate) thinking_history: job::ThinkingHistory,
}

impl From<&JobSettings> for TemplateChoice {
    fn from(settings: &JobSettings) -> Self {
        Self {
            jinja_template: settings.jinja_template.clone(),
            warm_start_from: settings.warm_start_from.clone(),
            thinking_history: settings.thinking_history,
        }
    }
}

/// The chat template in place of the base's own: that of the job, or else that of the adapter that it goes on from; with
/// what the job wants of the thoughts of earlier answers.
pub(crate) fn own_template(
    data_dir: &Path,
    settings: &TemplateChoice,
    base_dir: &Path,
) -> Result<Option<String>, Status> {
    let source = |dir: &Path| {
        source_of(dir).map_err(|error| {
            tracing::error!(path = %dir.display(), %error, "reading a chat template failed");
            Status::new(Code::Internal, "the chat template of a model cannot be read")
        })
    };
    let template = match (&settings.jinja_template, &settings.warm_start_from) {
        (Some(template), _) => Some(template.clone()),
        (None, None) => None,
        (None, Some(adapter)) => {
            let adapter = installed::read(data_dir, &adapter.account, &adapter.id)
                .map_err(|error| status_of("reading the adapter to go on from", &error))?;
            // Whether it is to be asked for thoughts follows from the rows of this job.
            let template = source(&adapter.dir)?.map(|template| as_given(&template).to_owned());
            if template == source(base_dir)? { None } else { template }
        }
    };
    let history = match settings.thinking_history {
        job::ThinkingHistory::OfTheTemplate => return Ok(template),
        job::ThinkingHistory::Interleaved => history::ThinkingHistory::Interleaved,
        job::ThinkingHistory::Preserved => history::ThinkingHistory::Preserved,
    };
    let template = match template {
        Some(template) => Some(template),
        None => source(base_dir)?,
    };
    Ok(template.map(|template| history::with_history(&template, history)))
}

/// Links the adapter to go on from into the run. From then on the run has it, whatever happens to the model.
fn link_adapter(store: &Store, dir: &RunDir, adapter: &ModelRef) -> Result<PathBuf, Status> {
    let model = installed::read(store.data_dir(), &adapter.account, &adapter.id)
        .map_err(|error| status_of("reading the adapter to go on from", &error))?;
    let to = dir.root().join("warm-start");
    let failed = |error| io_status("copying the adapter to go on from", &to, &error);
    if to.exists() {
        fs::remove_dir_all(&to).map_err(failed)?;
    }
    dir.create_dir(&to).map_err(|error| run_status("making the run directory", dir, error))?;
    for file in ADAPTER_FILES {
        link_or_copy(&model.dir.join(file), &to.join(file)).map_err(failed)?;
    }
    // For the digest of its ledger. Adapters of earlier versions and uploads have none.
    if model.dir.join(FACTS_FILE).exists() {
        link_or_copy(&model.dir.join(FACTS_FILE), &to.join(FACTS_FILE)).map_err(failed)?;
    }
    // As with the rows.
    fs::File::open(&to).and_then(|to| to.sync_all()).map_err(failed)?;
    Ok(to)
}

/// What the adapter calls its base: the repository on the hub, which PEFT can load, or else the resource name.
fn base_model_name(name: &ModelRef, manifest: &ModelManifest) -> String {
    manifest.hub_id.clone().unwrap_or_else(|| name.to_string())
}

/// Links the files of a dataset into `data/` of the run, numbered in reading order, and says where each came from; what
/// was fetched is there already. From then on the run has its rows, whatever happens to the dataset.
fn link_rows(
    store: &Store,
    runtime: &Handle,
    dir: &RunDir,
    dataset: &DatasetRef,
    part: &str,
) -> Result<(Vec<PathBuf>, Vec<DataOrigin>), Status> {
    let record = runtime
        .block_on(store.dataset_get(dataset))
        .map_err(|error| status_of("reading the dataset", &error))?;
    let data = dir.data_path();
    dir.create_dir(&data).map_err(|error| run_status("making the run directory", dir, error))?;
    if !record.external_url.is_empty() {
        let fetched =
            Fetched::files(&data, part).map_err(|error| io_status("finding the rows", &data, &error))?;
        let files = fetched.filter(|files| !files.is_empty()).ok_or_else(|| {
            Status::new(
                Code::FailedPrecondition,
                format!("the rows of dataset {dataset} lie behind its externalUrl and are not here"),
            )
        })?;
        let origins = files.iter().map(|_| DataOrigin { dataset: dataset.to_string(), file: None }).collect();
        return Ok((files, origins));
    }
    let (mut linked, mut origins) = (Vec::new(), Vec::new());
    for (index, file) in record.files.iter().enumerate() {
        let to = data.join(format!("{part}-{index:04}.jsonl"));
        let from = ObjectKey::dataset_file(dataset, &file.name)
            .and_then(|key| store.objects().local_path(&key))
            .map_err(|error| status_of("finding the rows", &error))?;
        // Left by an earlier attempt that came to nothing; the dataset may be another one now.
        if to.exists() {
            fs::remove_file(&to).map_err(|error| io_status("copying the rows", &to, &error))?;
        }
        link_or_copy(&from, &to).map_err(|error| io_status("copying the rows", &from, &error))?;
        linked.push(to);
        origins.push(DataOrigin { dataset: dataset.to_string(), file: Some(file.name.clone()) });
    }
    // What has a job.json is complete, after a power cut too.
    fs::File::open(&data)
        .and_then(|data| data.sync_all())
        .map_err(|error| io_status("copying the rows", &data, &error))?;
    Ok((linked, origins))
}

/// Gives a file a second name, or copies it where the file system has no hard links.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            // A copy that breaks off must not pass for a whole file.
            let beside = to.with_extension("tmp");
            fs::copy(from, &beside)?;
            fs::File::open(&beside)?.sync_all()?;
            fs::rename(&beside, to)
        }
        done => done,
    }
}

/// What was there when the job was made and is not there any more fails the job's precondition.
pub(super) fn status_of(doing: &str, error: &StoreError) -> Status {
    match error.code() {
        Code::NotFound => Status::new(Code::FailedPrecondition, format!("{doing} failed: {error}")),
        _ => store_status(doing, error),
    }
}
