//! The scheduler with a real database, real processes, and trainers made of shell that speak the run directory's
//! contract.

mod course;
mod ends;
mod queue;
mod servers;
mod silence;
mod unseen;

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_domain::job::{LrScheduler, Placement};
use hearth_domain::schedule::{Limits, WAIT_MAX_MS};
use hearth_domain::{
    AccountId, Dataset, DatasetFile, DatasetFormat, DatasetId, DatasetRef, DatasetState, Estimate, Job,
    JobEstimate, JobEvent, JobId, JobSettings, JobState, Model, ModelId, ModelKind, ModelRef, Status,
    TrainingPrices,
};
use hearth_remote::Services;
use hearth_run::{Event, EventKind, EventTail, Precision, RunDir};
use hearth_store::installed::{self, InstalledKind, ModelManifest};
use hearth_store::{ObjectKey, SizeRule, Store, StoreError};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::attempt::Attempt;
use super::estimate::Estimators;
use super::{JobsConfig, Scheduler, estimate, finish, report};

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every trainer begins with. `$runs` counts the trainers before it.
const PRELUDE: &str = r#"
dir="$1"
exec 9>"$dir/lock"
flock -n 9 || exit 73
log="$dir/events.jsonl"
touch "$log"
seq=$(wc -l < "$log")
runs=$(grep -c '"started"' "$log")
emit() { seq=$((seq + 1)); printf '{"seq":%d,"time_ms":1,"type":%s}\n' "$seq" "$1" >> "$log"; }
validated() { emit '"validated","rows":5,"samples":5,"dropped_too_long":0,"dropped_lines":[],"tokens_per_epoch":50,"trained_tokens_per_epoch":20,"eval_rows":0,"total_steps":4'; }
step() { emit "\"step\",\"step\":$1,\"total_steps\":4,\"epoch\":$2,\"loss\":1.0,\"learning_rate\":0.001,\"grad_norm\":1.0,\"tokens\":10,\"trained_tokens\":5,\"total_tokens\":${1}0,\"samples\":1,\"tokens_per_second\":10.0,\"seconds_remaining\":1.0,\"rss_bytes\":1"; }
paused() { emit '"paused","step":1'; exit 75; }
wait_for() { n=0; while [ ! -e "$dir/$1" ] && [ $n -lt 1000 ]; do sleep 0.02 9>&-; n=$((n + 1)); done; }
finish() {
  mkdir -p "$dir/output"
  cp "$WORLD/adapter" "$dir/output/adapter_model.safetensors"
  echo '{"r": 8, "target_modules": ["qkv_proj", "o_proj"]}' > "$dir/output/adapter_config.json"
  emit '"writing","step":4'
  emit "\"finished\",\"step\":4,\"total_tokens\":40,\"train_loss\":1.0,\"eval_loss\":null,\"adapter_sha256\":\"$SHA\",\"peak_rss_bytes\":1"
}
emit "\"started\",\"pid\":$$,\"resumed_from_step\":0"
"#;

/// Brings one row when the file `fetch` is there.
const FETCHER: &str = r#"
emit "\"fetching\",\"pid\":$$,\"bytes\":0"
cat > "$dir/told"
wait_for fetch
mkdir -p "$dir/data"
echo '{}' > "$dir/data/train-0000.jsonl"
echo '{"parts": [{"name": "train", "files": [["train-0000.jsonl", 3]]}]}' > "$dir/data/fetched.json"
emit '"fetched","files":1,"bytes":3'
"#;

/// Says that a job takes as many tokens as its training file has rows. Its arguments stay beside it.
const ESTIMATOR: &str = r#"
echo "$*" > "${0%/*}/asked"
rows=$(wc -l < "$2/data/train-0000.jsonl")
interval='{"low":1,"high":2}'
printf '{"estimated":{"rows":1,"dropped_rows":0,"eval_rows":0,"tokens_per_epoch":1,"tokens":%d,"trained_tokens":1,"total_steps":4,"memory_bytes":%s,"least_memory_bytes":1,"seconds":%s}}' \
  "$rows" "$interval" "$interval"
"#;

/// Trains four steps, waiting for the file `go` after the second.
const NORMAL: &str = "validated; step 1 0.5; step 2 1.0; wait_for go; step 3 1.5; step 4 2.0; finish";

fn account() -> AccountId {
    AccountId::new("acme").unwrap()
}

/// A safetensors file with six weights.
fn adapter() -> Vec<u8> {
    let header = br#"{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;
    [&(header.len() as u64).to_le_bytes()[..], header, &[1; 24]].concat()
}

fn job(id: &str, create_time_ms: i64) -> Job {
    let settings = JobSettings {
        display_name: "Mine".into(),
        dataset: DatasetRef { account: account(), id: DatasetId::new("rows").unwrap() },
        evaluation_dataset: None,
        eval_auto_carveout: false,
        early_stop: false,
        warm_start_from: None,
        base_model: ModelRef {
            account: AccountId::new("fireworks").unwrap(),
            id: ModelId::new("tiny").unwrap(),
        },
        output_model: ModelRef { account: account(), id: ModelId::new(format!("{id}-out")).unwrap() },
        jinja_template: None,
        thinking_history: Default::default(),
        epochs: 2,
        learning_rate: 5e-4,
        learning_rate_warmup_steps: 0,
        lr_scheduler: LrScheduler::Constant,
        optimizer_weight_decay: 0.01,
        lora_rank: 8,
        lora_alpha: 16.0,
        target_modules: vec![],
        max_context_length: 512,
        batch_size: 0,
        batch_size_samples: 8,
        gradient_accumulation_steps: 1,
        sampler_checkpoint_save_interval_steps: 0,
        is_turbo: false,
        placement: Placement::default(),
        aws_s3_config: None,
        azure_blob_storage_config: None,
        wandb: None,
    };
    Job::new(account(), JobId::new(id).unwrap(), settings, "a@example.org", create_time_ms)
}

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    config: JobsConfig,
    wake: Arc<Notify>,
    scheduler: Option<Scheduler>,
}

impl World {
    /// A data directory with a base model, a dataset, and a trainer that does what `script` says. No loop runs yet.
    async fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = dir.path().display().to_string();
        let sha256 = hex::encode(Sha256::digest(adapter()));
        let text = format!("WORLD='{world}'\nSHA={sha256}\n{PRELUDE}\n{script}\n");
        fs::write(dir.path().join("trainer.sh"), text).unwrap();
        let (prelude, _) = PRELUDE.rsplit_once("emit").unwrap();
        fs::write(dir.path().join("fetcher.sh"), format!("{prelude}\n{FETCHER}\n")).unwrap();
        fs::write(dir.path().join("adapter"), adapter()).unwrap();
        let config = JobsConfig {
            backend: hearth_run::Backend::Cpu,
            // Jobs of these tests were made in 1970.
            limits: Limits { stop_grace_ms: 200, wait_max_ms: None, ..Limits::default() },
            regions: Vec::new(),
            free_memory: || None,
            trainer: vec!["/bin/sh".into(), dir.path().join("trainer.sh").into()],
            fetcher: vec!["/bin/sh".into(), dir.path().join("fetcher.sh").into()],
            poll_interval: Duration::from_millis(10),
            silence_max: PATIENCE,
        };
        let store = Store::open(&dir.path().join("data"), 1).await.unwrap();
        let wake = Arc::new(Notify::new());
        let world = Self { _dir: dir, store, config, wake, scheduler: None };
        world.install("fireworks", "tiny", InstalledKind::Base, "test");
        world.store.model_sync().await.unwrap();
        let dataset = world.dataset();
        world.store.dataset_create(&dataset).await.unwrap();
        let key = ObjectKey::dataset_file(&dataset.name(), "rows.jsonl").unwrap();
        let rows = futures::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"{}\n"))]);
        world.store.objects().put(&key, SizeRule::AtMost(10), rows).await.unwrap();
        world
    }

    /// What asks [`ESTIMATOR`].
    fn estimators(&self) -> Estimators {
        let script = self.store.data_dir().join("estimator.sh");
        fs::write(&script, ESTIMATOR).unwrap();
        let config = JobsConfig { trainer: vec!["/bin/sh".into(), script.into()], ..self.config.clone() };
        Estimators::new(&self.store, &config, TrainingPrices::default()).unwrap()
    }

    fn install(&self, account: &str, id: &str, kind: InstalledKind, source: &str) {
        let staged = installed::stage(self.store.data_dir()).unwrap();
        fs::write(staged.join("adapter_model.safetensors"), adapter()).unwrap();
        let manifest = ModelManifest {
            version: ModelManifest::VERSION,
            kind,
            display_name: id.into(),
            source: source.into(),
            hub_id: None,
            parameter_count: 6,
            context_length: 2048,
            model_type: "llama".into(),
            base_model: None,
            r: 0,
            target_modules: vec![],
            files: installed::digest_files(&staged).unwrap(),
            create_time_ms: 1,
        };
        let (account, id) = (AccountId::new(account).unwrap(), ModelId::new(id).unwrap());
        installed::install(self.store.data_dir(), &account, &id, &staged, &manifest).unwrap();
    }

    fn dataset(&self) -> Dataset {
        let name = DatasetRef { account: account(), id: DatasetId::new("rows").unwrap() };
        Dataset {
            state: DatasetState::Ready,
            format: DatasetFormat::Chat,
            example_count: 5,
            files: vec![DatasetFile::stored("rows.jsonl", 3, String::new())],
            ..Dataset::new(name, "", 1)
        }
    }

    fn start(&mut self) {
        let scheduler = Scheduler::start(
            self.store.clone(),
            self.config.clone(),
            Services::default(),
            Arc::clone(&self.wake),
        );
        self.scheduler = Some(scheduler.unwrap());
    }

    async fn stop(&mut self) {
        self.scheduler.take().unwrap().shutdown().await;
    }

    async fn create(&self, id: &str, create_time_ms: i64) -> i64 {
        let job = job(id, create_time_ms);
        let key = self.store.job_create(&job).await.unwrap().key;
        self.wake.notify_one();
        key
    }

    fn run(&self, id: &str) -> RunDir {
        super::run_dir(self.store.data_dir(), &account(), &JobId::new(id).unwrap())
    }

    fn go(&self, id: &str) {
        fs::write(self.run(id).root().join("go"), "").unwrap();
    }

    async fn event(&self, key: i64, event: JobEvent) {
        self.store.job_transition(key, None, &event, 5).await.unwrap();
        self.wake.notify_one();
    }

    /// Waits until `check` holds of the job.
    async fn until(&self, key: i64, what: &str, check: impl Fn(&Job) -> bool) -> Job {
        let end = Instant::now() + PATIENCE;
        loop {
            let job = self.store.job_by_key(key).await.unwrap().expect("the job is there").job;
            if check(&job) {
                return job;
            }
            assert!(Instant::now() < end, "never {what}: {job:#?}\n{}", self.log(job.id.as_str()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_state(&self, key: i64, state: JobState) -> Job {
        self.until(key, state.name(), |job| job.state == state).await
    }

    fn log(&self, id: &str) -> String {
        let run = self.run(id);
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        format!("{}\n{}", read(run.events_path()), read(run.log_path()))
    }

    /// Waits until no trainer lives in the run directory.
    async fn until_gone(&self, id: &str) {
        let end = Instant::now() + PATIENCE;
        while self.run(id).is_live().unwrap() {
            assert!(Instant::now() < end, "the trainer of {id} never ends");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The names of the job's events.
    async fn history(&self, key: i64) -> String {
        let events: Vec<String> = self
            .store
            .job_event_list(key)
            .await
            .unwrap()
            .into_iter()
            .filter(|row| row.note.is_none())
            .map(|row| row.event)
            .collect();
        events.join(" ")
    }

    /// Process ids of all trainers that the run had.
    fn pids(&self, id: &str) -> Vec<u32> {
        let events: Vec<Event> = EventTail::new(&self.run(id)).poll().unwrap();
        let pid = |event: &Event| match event.kind {
            EventKind::Started { pid, .. } | EventKind::Fetching { pid, .. } => Some(pid),
            _ => None,
        };
        events.iter().filter_map(pid).collect()
    }

    fn kill(&self, id: &str) {
        let pid = *self.pids(id).last().expect("a trainer has started");
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    }
}
