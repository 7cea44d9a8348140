//! The scheduler with a real database, real processes, and trainers made of shell that speak the run directory's
//! contract.

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
use hearth_store::{ObjectKey, SizeRule, Store};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::attempt::Attempt;
use super::estimate::Estimators;
use super::{JobsConfig, Scheduler, estimate, report};

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

/// Says that a job takes as many tokens as its training file has rows.
const ESTIMATOR: &str = r#"
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

#[tokio::test]
async fn a_job_goes_its_way_and_leaves_a_model() {
    let mut world = World::new(NORMAL).await;
    world.start();
    let key = world.create("j1", 1).await;
    let running = world.until(key, "at step 2", |job| job.progress.step == 2).await;
    assert_eq!(running.state, JobState::Running);
    assert_eq!((running.progress.percent(), running.progress.epoch, running.progress.rows), (50, 1, 5));
    let spec = world.run("j1").job().unwrap();
    assert_eq!(fs::read(&spec.train_files[0]).unwrap(), b"{}\n");
    assert!(spec.base_model_dir.is_absolute() && spec.base_model_dir.join("hearth-model.json").exists());
    assert_eq!((spec.epochs, spec.lora_alpha, spec.batch_size_samples), (2, 16.0, 8));

    world.go("j1");
    let done = world.until_state(key, JobState::Completed).await;
    assert_eq!((done.progress.percent(), done.progress.epoch), (100, 2));
    assert!(done.completed_time_ms.is_some());
    assert_eq!(world.history(key).await, "start validate write finish");
    let model: Model = world.store.model_get(&done.settings.output_model).await.unwrap();
    let ModelKind::Adapter { base_model, r, target_modules, fine_tuning_job } = model.kind else {
        panic!("the output is an adapter");
    };
    assert_eq!((base_model.to_string().as_str(), r), ("accounts/fireworks/models/tiny", 8));
    assert_eq!((target_modules.join(" "), fine_tuning_job), ("qkv_proj o_proj".to_owned(), done.name()));
    let output = installed::read(world.store.data_dir(), &account(), &model.id).unwrap();
    assert_eq!(output.manifest.parameter_count, 6);
    assert_eq!(fs::read(output.dir.join("adapter_model.safetensors")).unwrap(), adapter());
    world.stop().await;
}

#[tokio::test]
async fn a_turbo_job_is_trained_in_integers() {
    let mut world = World::new(NORMAL).await;
    let mut turbo = job("turbo", 1);
    turbo.settings.is_turbo = true;
    world.start();
    for (job, expect) in [(turbo, Precision::Int8), (job("plain", 2), Precision::Bf16)] {
        let key = world.store.job_create(&job).await.unwrap().key;
        world.until(key, "at step 2", |job| job.progress.step == 2).await;
        world.go(job.id.as_str());
        world.until_state(key, JobState::Completed).await;
        assert_eq!(world.run(job.id.as_str()).job().unwrap().precision, expect);
    }
    world.stop().await;
}

/// The samples of four steps, the third twice, as a trainer that was killed does it.
const TELLS_OF_ROWS: &str = r#"
emit '"validated","rows":9,"samples":4,"dropped_too_long":2,"dropped_lines":[3,7],"tokens_per_epoch":50,"trained_tokens_per_epoch":20,"eval_rows":3,"eval_carved_out":3,"eval_dropped":{"count":0,"lines":[]},"total_steps":4'
row_step() { step_of $1 "$2,\"total_samples\":$3"; }
step_of() { emit "\"step\",\"step\":$1,\"total_steps\":4,\"epoch\":$2,\"loss\":1.0,\"learning_rate\":0.001,\"grad_norm\":1.0,\"tokens\":10,\"trained_tokens\":5,\"total_tokens\":3000000000,\"samples\":2,\"tokens_per_second\":10.0,\"seconds_remaining\":1.0,\"rss_bytes\":1"; }
row_step 1 0.5 2; row_step 2 1.0 4; row_step 3 1.5 6; row_step 2 1.0 4; wait_for go; row_step 3 1.5 6; row_step 4 2.0 8; finish
"#;

#[tokio::test]
async fn a_job_tells_of_its_rows_and_its_progress_never_goes_back() {
    let mut world = World::new(TELLS_OF_ROWS).await;
    world.start();
    let key = world.create("j1", 1).await;
    let running = world.until(key, "at step 3", |job| job.progress.step == 3).await;
    let note = "2 of 9 rows are longer than 512 tokens (maxContextLength) and are left out: lines 3, 7; 3 rows are set \
                aside for evaluation";
    assert_eq!((running.status, running.rows_note.as_str()), (Status::default(), note));
    assert_eq!((running.progress.rows, running.progress.samples), (9, 6));
    world.go("j1");
    let done = world.until_state(key, JobState::Completed).await;
    assert_eq!((done.progress.samples, done.progress.tokens), (8, 3_000_000_000));
    assert_eq!(done.rows_note, note);
    world.stop().await;
}

#[tokio::test]
async fn a_run_that_ends_early_makes_its_model() {
    let early = r#"validated; step 1 0.5; step 2 1.0; step 3 1.5
      mkdir -p "$dir/output"
      cp "$WORLD/adapter" "$dir/output/adapter_model.safetensors"
      echo '{"r": 8, "target_modules": ["o_proj"]}' > "$dir/output/adapter_config.json"
      emit '"writing","step":3'
      emit "\"finished\",\"step\":3,\"total_tokens\":30,\"train_loss\":1.0,\"eval_loss\":0.5,\"early_stopped\":true,\"best_step\":1,\"adapter_sha256\":\"$SHA\",\"peak_rss_bytes\":1"
    "#;
    let mut world = World::new(early).await;
    world.start();
    let key = world.create("j1", 1).await;
    let done = world.until_state(key, JobState::EarlyStopped).await;
    assert_eq!((done.progress.step, done.progress.percent(), done.progress.output_step), (3, 75, 1));
    assert!(done.completed_time_ms.is_some());
    assert_eq!(world.history(key).await, "start validate write finish_early");
    world.store.model_get(&done.settings.output_model).await.unwrap();
    let listed = super::checkpoint::list(world.store.data_dir(), &done).unwrap();
    let last = listed.last().unwrap();
    assert_eq!((last.id.as_str(), last.step), (super::checkpoint::FINAL, 1));
    world.stop().await;
}

#[tokio::test]
async fn one_job_runs_at_a_time_and_the_oldest_first() {
    let mut world = World::new(NORMAL).await;
    let younger = world.create("younger", 2).await;
    let older = world.create("older", 1).await;
    world.start();
    world.until(older, "at step 2", |job| job.progress.step == 2).await;
    let waiting = world.until(younger, "anything", |_| true).await;
    assert_eq!(waiting.state, JobState::Pending);
    world.go("older");
    world.until(younger, "at step 2", |job| job.progress.step == 2).await;
    world.until_state(older, JobState::Completed).await;
    world.go("younger");
    world.until_state(younger, JobState::Completed).await;
    world.stop().await;
}

#[tokio::test]
async fn a_trainer_hears_its_share() {
    let mut world = World::new(r#"echo "$*" > "$dir/arguments"; validated; wait_for go; finish"#).await;
    world.config.limits.memory_bytes = 1000;
    world.config.limits.threads = 6;
    world.config.limits.capacity = 2;
    world.config.free_memory = || Some(500);
    world.start();
    let key = world.create("j1", 1).await;
    let running = world.until_state(key, JobState::Running).await;
    let arguments = fs::read_to_string(world.run("j1").root().join("arguments")).unwrap();
    let (_, arguments) = arguments.trim().split_once(' ').unwrap();
    // An even part of the limit, but no more than 80 % of what is free.
    assert_eq!(arguments, "--threads=3 --memory-limit=400");
    assert_eq!((running.share.memory_bytes, running.share.threads), (500, 3));
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    world.stop().await;
}

#[tokio::test]
async fn a_job_that_can_never_fit_fails_and_one_that_waits_too_long_expires() {
    let mut world = World::new(NORMAL).await;
    world.config.limits.memory_bytes = 1 << 30;
    let mut large = job("large", 1);
    large.estimate = JobEstimate::Known(Estimate {
        tokens: 1,
        cost: TrainingPrices::default().of(1, 1),
        memory_bytes_low: 4 << 30,
        memory_bytes_high: 5 << 30,
        least_memory_bytes: 3 << 30,
        seconds_low: 1.0,
        seconds_high: 2.0,
    });
    let large = world.store.job_create(&large).await.unwrap().key;
    world.start();
    let failed = world.until_state(large, JobState::Failed).await;
    assert_eq!(failed.status.code.name(), "RESOURCE_EXHAUSTED");
    assert!(failed.status.message.contains("at least 3072 MiB of memory and could get 1024"), "{failed:?}");
    world.stop().await;

    // Made long ago, and nothing may run.
    world.config.limits.capacity = 0;
    world.config.limits.wait_max_ms = Some(WAIT_MAX_MS);
    world.start();
    let key = world.create("j1", 1).await;
    let expired = world.until_state(key, JobState::Expired).await;
    assert!(expired.status.message.contains("waited 720 hours"), "{expired:?}");
    assert!(expired.completed_time_ms.is_some());
    world.stop().await;
    world.config.limits.capacity = 1;
    world.start();
    world.event(key, JobEvent::Resume).await;
    world.until_state(key, JobState::Running).await;
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    assert_eq!(world.history(key).await, "expire resume start validate write finish");
    world.stop().await;
}

#[tokio::test]
async fn a_failure_says_whose_mistake_it_is() {
    for (kind, expect) in [
        ("invalid_data", "INVALID_ARGUMENT"),
        ("invalid_setting", "FAILED_PRECONDITION"),
        ("out_of_resources", "RESOURCE_EXHAUSTED"),
        ("internal", "INTERNAL"),
    ] {
        let script =
            format!(r#"emit '"failed","kind":"{kind}","message":"line 3 has no assistant turn"'; exit 1"#);
        let mut world = World::new(&script).await;
        world.start();
        let key = world.create("j1", 1).await;
        let job = world.until_state(key, JobState::Failed).await;
        assert_eq!(
            (job.status.code.name(), job.status.message.as_str()),
            (expect, "line 3 has no assistant turn")
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn a_job_without_its_dataset_fails_and_can_go_on_when_it_is_back() {
    let mut world = World::new(NORMAL).await;
    let key = world.create("j1", 1).await;
    let dataset = world.dataset();
    let rows =
        world.store.objects().local_path(&ObjectKey::dataset_file(&dataset.name(), "rows.jsonl").unwrap());
    let kept = fs::read(rows.as_ref().unwrap()).unwrap();
    world.store.dataset_delete(&dataset.name()).await.unwrap();
    world.start();
    let job = world.until_state(key, JobState::Failed).await;
    assert_eq!(
        format!("{} {}", job.status.code.name(), job.status.message),
        "FAILED_PRECONDITION reading the dataset failed: dataset accounts/acme/datasets/rows does not exist"
    );
    world.store.dataset_create(&dataset).await.unwrap();
    fs::create_dir_all(rows.as_ref().unwrap().parent().unwrap()).unwrap();
    fs::write(rows.unwrap(), kept).unwrap();
    world.event(key, JobEvent::Resume).await;
    world.until_state(key, JobState::Running).await;
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    world.stop().await;
}

#[tokio::test]
async fn a_killed_trainer_is_started_again() {
    let script =
        "validated; step 1 0.5; [ $runs = 0 ] && { step 2 1.0; wait_for never; }; wait_for go; finish";
    let mut world = World::new(script).await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until(key, "at step 2", |job| job.progress.step == 2).await;
    world.kill("j1");
    let again =
        world.until(key, "running again", |job| job.state == JobState::Running && job.events_read > 4).await;
    assert_eq!(again.progress.step, 2, "the repeated first step does not take progress back");
    world.go("j1");
    let done = world.until_state(key, JobState::Completed).await;
    assert_eq!(done.progress.percent(), 100);
    assert_eq!(world.history(key).await, "start validate lose start validate write finish");
    world.stop().await;
}

#[tokio::test]
async fn a_trainer_that_always_dies_is_given_up() {
    let mut world = World::new("exit 3").await;
    world.start();
    let key = world.create("j1", 1).await;
    let job = world.until_state(key, JobState::Failed).await;
    assert_eq!(job.status.code.name(), "INTERNAL");
    assert!(job.status.message.contains("6 times in a row"), "{}", job.status.message);
    assert!(job.status.message.contains("ended with exit code 3"), "{}", job.status.message);
    assert_eq!(world.pids("j1").len(), 6);
    world.stop().await;
}

#[tokio::test]
async fn a_trainer_that_cannot_be_started_fails_the_job() {
    let mut world = World::new("").await;
    world.config.trainer = vec!["/nowhere/hearth".into()];
    world.start();
    let key = world.create("j1", 1).await;
    let job = world.until_state(key, JobState::Failed).await;
    assert!(job.status.message.starts_with("starting the trainer failed"), "{}", job.status.message);
    world.stop().await;
}

#[tokio::test]
async fn a_cancelled_job_stops_and_can_go_on() {
    let script = "trap paused TERM; validated; step 1 0.5; wait_for go; finish";
    let mut world = World::new(script).await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until(key, "at step 1", |job| job.progress.step == 1).await;
    world.event(key, JobEvent::Cancel).await;
    world.until_gone("j1").await;
    // The loop is not there when the job goes on, so the trainer's last word is still unread then.
    world.stop().await;
    assert!(world.log("j1").contains("paused"));
    assert_eq!(world.until(key, "anything", |_| true).await.state, JobState::Cancelled);
    world.event(key, JobEvent::Resume).await;
    world.go("j1");
    world.start();
    world.until_state(key, JobState::Completed).await;
    assert_eq!(world.history(key).await, "start validate cancel resume start validate write finish");
    world.stop().await;
}

#[tokio::test]
async fn a_trainer_that_has_said_nothing_keeps_its_place_until_it_is_gone() {
    // The first one says nothing at all and does not stop when it is asked to.
    let script = "[ $runs = 0 ] || { validated; wait_for go; finish; }";
    let mut world = World::new(script).await;
    let trainer = world._dir.path().join("trainer.sh");
    let silent = "[ -e \"$1/silent\" ] || { touch \"$1/silent\"; exec 9>\"$1/lock\"; flock -n 9; trap '' TERM; \
                  while :; do sleep 0.05 9>&-; done; }\n";
    let text = fs::read_to_string(&trainer).unwrap();
    fs::write(&trainer, format!("{silent}runs=1\n{}", text.replace("runs=$(", "seen=$("))).unwrap();
    world.start();
    let key = world.create("j1", 1).await;
    world.until_state(key, JobState::Validating).await;
    let lives = || world.run("j1").is_live().unwrap();
    let end = Instant::now() + PATIENCE;
    while !lives() {
        assert!(Instant::now() < end, "the trainer never takes the lock");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.event(key, JobEvent::Cancel).await;
    world.event(key, JobEvent::Resume).await;
    // It is killed after its grace, and only then the next one starts.
    world.until_state(key, JobState::Running).await;
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    assert_eq!(world.history(key).await, "start cancel resume start validate write finish");
    world.stop().await;
}

#[tokio::test]
async fn a_trainer_stopped_from_outside_pauses_its_job() {
    let mut world = World::new("trap paused TERM; validated; wait_for go; finish").await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until_state(key, JobState::Running).await;
    kill_process(Pid::from_raw(world.pids("j1")[0] as i32).unwrap(), Signal::TERM).unwrap();
    world.until_state(key, JobState::Paused).await;
    world.event(key, JobEvent::Resume).await;
    world.until_state(key, JobState::Running).await;
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    world.stop().await;
}

#[tokio::test]
async fn a_deleted_job_is_stopped_by_force_and_removed() {
    let mut world = World::new("trap '' TERM; validated; wait_for never").await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until_state(key, JobState::Running).await;
    world.event(key, JobEvent::Delete).await;
    // A new job of the same name waits until the old one is gone.
    let mut again = world.store.job_by_key(key).await.unwrap().unwrap().job;
    (again.state, again.events_read) = (JobState::Pending, 0);
    let new = world.store.job_create(&again).await.unwrap().key;
    let end = Instant::now() + PATIENCE;
    while world.store.job_by_key(key).await.unwrap().is_some() {
        assert!(Instant::now() < end, "the deleted job stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let job = world.until_state(new, JobState::Running).await;
    assert_eq!(world.pids("j1").len(), 1, "the new job has a run directory of its own");
    world.event(new, JobEvent::Delete).await;
    while world.run(job.id.as_str()).root().exists() {
        assert!(Instant::now() < end, "the run directory stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn a_new_server_takes_over_a_live_trainer() {
    let mut world = World::new(NORMAL).await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until(key, "at step 2", |job| job.progress.step == 2).await;
    world.stop().await;
    assert!(world.run("j1").is_live().unwrap(), "the trainer outlives the server");
    world.start();
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    assert_eq!(world.pids("j1").len(), 1);
    assert_eq!(world.history(key).await, "start validate write finish");
    world.stop().await;
}

#[tokio::test]
async fn a_new_server_finds_what_ended_without_it() {
    let mut world = World::new(NORMAL).await;
    world.start();
    let finished = world.create("finished", 1).await;
    world.until(finished, "at step 2", |job| job.progress.step == 2).await;
    world.stop().await;
    world.go("finished");
    world.until_gone("finished").await;
    world.start();
    world.until_state(finished, JobState::Completed).await;

    let killed = world.create("killed", 2).await;
    world.until(killed, "at step 2", |job| job.progress.step == 2).await;
    world.stop().await;
    world.kill("killed");
    world.until_gone("killed").await;
    world.go("killed");
    world.start();
    world.until_state(killed, JobState::Completed).await;
    assert_eq!(world.pids("killed").len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_new_server_stops_what_was_cancelled_without_it() {
    let mut world = World::new(NORMAL).await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until(key, "at step 2", |job| job.progress.step == 2).await;
    world.stop().await;
    world.event(key, JobEvent::Cancel).await;
    world.start();
    world.until_gone("j1").await;
    assert_eq!(world.until(key, "anything", |_| true).await.state, JobState::Cancelled);
    world.stop().await;
}

#[tokio::test]
async fn an_adapter_that_was_installed_before_a_crash_is_found() {
    let mut world = World::new(NORMAL).await;
    let key = world.create("j1", 1).await;
    world.install("acme", "j1-out", InstalledKind::Adapter, "accounts/acme/supervisedFineTuningJobs/j1");
    world.start();
    world.until_state(key, JobState::Running).await;
    world.go("j1");
    world.until_state(key, JobState::Completed).await;

    let key = world.create("j2", 2).await;
    world.install("acme", "j2-out", InstalledKind::Adapter, "somebody else");
    world.until_state(key, JobState::Running).await;
    world.go("j2");
    let job = world.until_state(key, JobState::Failed).await;
    assert_eq!(job.status.code.name(), "ALREADY_EXISTS");
    world.stop().await;
}

#[test]
fn nobody_else_is_signalled() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let mut stranger = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
    let started =
        format!(r#"{{"seq":1,"time_ms":1,"type":"started","pid":{},"resumed_from_step":0}}"#, stranger.id());
    fs::write(run.events_path(), started + "\n").unwrap();
    let mut attempt = Attempt::new(run.clone(), PATIENCE);
    attempt.poll().unwrap();
    assert!(!attempt.stop(), "nobody holds the lock");
    let lock = run.lock().unwrap();
    assert!(attempt.is_live().unwrap());
    assert!(!attempt.stop(), "the process was not started on the run directory");
    attempt.kill();
    drop(lock);
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// Stops the trainer of a job, so that it does nothing any more but is there.
fn freeze(world: &World, id: &str) -> Pid {
    let pid = Pid::from_raw(*world.pids(id).last().expect("a trainer has started") as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    pid
}

/// A heart that beats while the trainer is not stopped.
const BEATING: &str = r#"beats() { n=0; while [ ! -e "$dir/still" ] && kill -0 $$; do
n=$((n + 1)); touch -d "@$n" "$dir/heartbeat"; sleep 0.02; done; }
beats 9>&- & "#;

#[tokio::test]
async fn a_stopped_trainer_is_lost_and_the_job_goes_on() {
    for with_new_server in [false, true] {
        let script = format!(
            "{BEATING} [ $runs = 0 ] && {{ validated; step 1 0.5; wait_for never; }}; validated; wait_for go; finish"
        );
        let mut world = World::new(&script).await;
        world.config.silence_max = Duration::from_millis(400);
        world.start();
        let key = world.create("j1", 1).await;
        world.until(key, "at step 1", |job| job.progress.step == 1).await;
        // One that takes long over its step is left alone.
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert_eq!(world.history(key).await, "start validate");

        if with_new_server {
            world.stop().await;
        }
        let pid = freeze(&world, "j1");
        // What beats is a process of its own in these scripts.
        fs::write(world.run("j1").root().join("still"), "").unwrap();
        if with_new_server {
            world.start();
        }
        world.until(key, "lost", |job| job.losses_without_progress == 1).await;
        // Dead, or dead and not waited for: the "new server" is in the process of the old one.
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        fs::remove_file(world.run("j1").root().join("still")).unwrap();
        world.go("j1");
        world.until_state(key, JobState::Completed).await;
        assert_eq!(world.history(key).await, "start validate lose start validate write finish");
        assert!(world.log("j1").contains("gave no sign of life for 0 seconds"), "{}", world.log("j1"));
        world.stop().await;
    }
}

/// Of a trainer that has not said its process id, the system knows who holds the lock.
#[test]
fn a_trainer_that_was_stopped_before_its_first_word_is_found_by_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    run.expect_heartbeat().unwrap();
    let mut trainer = Command::new("flock")
        .args([OsStr::new("--no-fork"), run.lock_path().as_os_str()])
        .args(["sh", "-c", "echo held; kill -STOP $$"])
        .arg(run.root())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 5];
    trainer.stdout.take().unwrap().read_exact(&mut word).unwrap();
    let mut attempt = Attempt::new(run, Duration::from_millis(50));
    let end = Instant::now() + PATIENCE;
    while attempt.is_live().unwrap() {
        assert!(Instant::now() < end, "the stopped trainer is not killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(trainer.wait().unwrap().signal(), Some(9));
    assert!(attempt.last_exit().unwrap().starts_with("gave no sign of life"));
}

#[tokio::test]
async fn a_log_that_a_power_cut_shortened_is_read_on_from_there() {
    // A log that was read to its fifth event, of which one is left; with zeros behind it, or none at all.
    for left in [1, 0] {
        let mut world =
            World::new("validated; step 1 0.5; step 2 1.0; step 3 1.5; wait_for go; finish").await;
        world.start();
        let key = world.create("j1", 1).await;
        world.until(key, "at step 3", |job| job.progress.step == 3).await;
        world.stop().await;
        world.kill("j1");
        world.until_gone("j1").await;
        let path = world.run("j1").events_path();
        let text = fs::read_to_string(&path).unwrap();
        let kept: String = text.lines().take(left).map(|line| format!("{line}\n")).collect();
        fs::write(&path, kept).unwrap();
        world.go("j1");
        world.start();
        world.until_state(key, JobState::Completed).await;
        assert_eq!(world.history(key).await, "start validate lose start validate write finish");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_trainer_that_cannot_write_fails_its_job_with_the_reason() {
    let mut world = World::new("validated; [ -e \"$dir/go\" ] || exit 74; finish").await;
    world.start();
    let key = world.create("j1", 1).await;
    let job = world.until_state(key, JobState::Failed).await;
    assert_eq!(job.status.code.name(), "RESOURCE_EXHAUSTED");
    assert!(job.status.message.starts_with("the disk is full"), "{}", job.status.message);
    world.go("j1");
    world.event(key, JobEvent::Resume).await;
    world.until_state(key, JobState::Completed).await;
    world.stop().await;
}

/// Events as JSON lines in, what they mean for a job in this state out.
#[test]
fn events_become_moves() {
    let step = r#""step","step":3,"total_steps":4,"epoch":1.9,"loss":1,"learning_rate":1,"grad_norm":1,"tokens":1,
        "trained_tokens":1,"total_tokens":30,"samples":1,"tokens_per_second":1,"seconds_remaining":1,"rss_bytes":1"#;
    let finished = r#""finished","step":4,"total_tokens":40,"train_loss":1,"eval_loss":null,"adapter_sha256":"ab",
        "peak_rss_bytes":1"#;
    let failed = r#""failed","kind":"non_finite","message":"loss is NaN""#;
    let paused = r#""paused","step":3"#;
    let check = |state: JobState, kinds: &[&str], expect: &str| {
        let mut job = job("j1", 1);
        (job.state, job.events_read) = (state, 1);
        let event = |(index, kind): (usize, &&str)| -> Event {
            serde_json::from_str(&format!(r#"{{"seq":{},"time_ms":1,"type":{kind}}}"#, index + 1)).unwrap()
        };
        // The first event was taken in before.
        let events: Vec<Event> = [failed].iter().chain(kinds).enumerate().map(event).collect();
        let (report, finished) = report::read(&job, &events);
        let moves: Vec<&str> = report.events.iter().map(JobEvent::name).collect();
        let got = format!(
            "{} step {} epoch {} read {}{}",
            moves.join(" "),
            report.progress.step,
            report.progress.epoch,
            report.events_read,
            if finished.is_some() { " finished" } else { "" }
        );
        assert_eq!(got.trim_start(), expect, "{state} {kinds:?}");
    };
    check(JobState::Validating, &[step], "validate step 3 epoch 1 read 2");
    check(JobState::Running, &[step, failed, step], "fail step 3 epoch 1 read 4");
    check(JobState::Running, &[step, paused], "interrupt step 3 epoch 1 read 3");
    check(JobState::Validating, &[finished], "validate write step 0 epoch 0 read 1 finished");
    check(JobState::Cancelled, &[step, paused], "step 0 epoch 0 read 3");
}

#[tokio::test]
async fn rows_that_lie_elsewhere_are_fetched_first() {
    let mut world = World::new(NORMAL).await;
    let mut dataset = world.dataset();
    world.store.dataset_delete(&dataset.name()).await.unwrap();
    dataset.files.clear();
    dataset.external_url = "s3://bucket/rows.jsonl".to_owned();
    world.store.dataset_create(&dataset).await.unwrap();
    let key = world.create("j1", 1).await;
    world.start();
    // One that is killed is followed by another, one that the user stops by none until the job goes on.
    for times in 1..=3 {
        world.until_state(key, JobState::CreatingInputDataset).await;
        let end = Instant::now() + PATIENCE;
        while world.pids("j1").len() < times {
            assert!(Instant::now() < end, "nothing fetches for the {times}. time\n{}", world.log("j1"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match times {
            1 => world.kill("j1"),
            2 => {
                world.event(key, JobEvent::Cancel).await;
                world.until_gone("j1").await;
                world.event(key, JobEvent::Resume).await;
            }
            _ => fs::write(world.run("j1").root().join("fetch"), "").unwrap(),
        }
    }
    // Now that they are here, somebody says what the job takes before it trains.
    let waiting = world.until_state(key, JobState::Pending).await;
    assert_eq!(waiting.estimate, JobEstimate::Waiting);
    let estimators = world.estimators();
    let stop = CancellationToken::new();
    let (wake, wake_scheduler) = (Arc::new(Notify::new()), Arc::clone(&world.wake));
    let loops = tokio::spawn(estimate::run(estimators, wake, wake_scheduler, stop.clone()));
    world.go("j1");
    let done = world.until_state(key, JobState::Completed).await;
    stop.cancel();
    loops.await.unwrap();
    assert_eq!(done.estimate.known().map(|estimate| estimate.tokens), Some(1), "{:?}", done.estimate);
    assert_eq!(fs::read_dir(world.store.data_dir().join("estimates")).unwrap().count(), 0);
    let history = world.history(key).await;
    assert_eq!(history, "fetch lose fetch cancel resume fetch fetched start validate write finish");
    let told: serde_json::Value =
        serde_json::from_slice(&fs::read(world.run("j1").root().join("told")).unwrap()).unwrap();
    assert_eq!(
        (&told["parts"][0]["location"]["bucket"], &told["aws"]["kind"]),
        (&"bucket".into(), &"public".into())
    );
    let spec = world.run("j1").job().unwrap();
    assert_eq!(fs::read(&spec.train_files[0]).unwrap(), b"{}\n");
    world.stop().await;
}
