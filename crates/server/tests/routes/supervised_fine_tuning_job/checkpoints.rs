//! A job that trains, over a tiny base, with a trainer made of shell; the test itself writes its checkpoints.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hearth_domain::schedule::Limits;
use hearth_run::LORA_TARGETS;
use hearth_run::checkpoint::{
    Checkpoint, Identity, Progress, State, TensorState, VERSION, directory_name, encode,
};
use hearth_server::ServerConfig;
use serde_json::{Value, json};

use super::JOBS;
use crate::openai;
use crate::server::Server;
use crate::tiny;

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rank of the job's adapter.
pub const RANK: usize = 8;

/// Trains forty steps, waits for the file `go`, and ends with the files in `made`.
const TRAINER: &str = r#"
dir="$1"
exec 9>"$dir/lock"
flock -n 9 || exit 73
seq=$(cat "$dir/events.jsonl" 2>/dev/null | wc -l)
emit() { seq=$((seq + 1)); printf '{"seq":%d,"time_ms":1,"type":%s}\n' "$seq" "$1" >> "$dir/events.jsonl"; }
emit "\"started\",\"pid\":$$,\"resumed_from_step\":0"
emit '"validated","rows":5,"samples":5,"dropped_too_long":0,"dropped_lines":[],"tokens_per_epoch":50,"trained_tokens_per_epoch":20,"eval_rows":0,"total_steps":40'
n=0; while [ ! -e "$dir/go" ] && [ $n -lt 2000 ]; do sleep 0.02 9>&-; n=$((n + 1)); done
cp -r "$dir/made" "$dir/output"
emit '"writing","step":40'
emit "\"finished\",\"step\":40,\"total_tokens\":40,\"train_loss\":1.0,\"eval_loss\":null,\"adapter_sha256\":\"$(sha256sum "$dir/output/adapter_model.safetensors" | cut -d' ' -f1)\",\"peak_rss_bytes\":1"
"#;

/// A server that starts such trainers.
pub fn config(config: &mut ServerConfig) {
    let script = config.data_dir.join("trainer.sh");
    fs::write(&script, TRAINER).unwrap();
    let jobs = config.jobs.as_mut().unwrap();
    jobs.limits = Limits { capacity: 1, ..Limits::default() };
    jobs.trainer = vec!["/bin/sh".into(), script.into()];
}

pub fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    openai::install(dir.path(), openai::BASE, None, 1);
    let server = Server::start_with(dir, config);
    server.ready_dataset("rows");
    server
}

/// Begins a job and waits until it trains. Its run directory is returned.
pub fn begin(server: &Server, id: &str) -> PathBuf {
    begin_with(server, id, &json!({"baseModel": "tiny"}))
}

/// The same, of a job with more settings.
pub fn begin_with(server: &Server, id: &str, more: &Value) -> PathBuf {
    let mut body = json!({"dataset": "rows", "displayName": "Mine"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post(&format!("{JOBS}?supervisedFineTuningJobId={id}"), &body).ok();
    until(server, &format!("{JOBS}/{id}"), |job| job["state"] == "JOB_STATE_RUNNING");
    server.dir.path().join("runs/default").join(id)
}

/// Reads until `check` holds.
pub fn until(server: &Server, path: &str, check: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = server.get(path).ok();
        if check(&found) {
            return found;
        }
        assert!(Instant::now() < end, "never: {found:#}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Writes a checkpoint as a trainer does: whole, or not there.
pub fn save(run: &std::path::Path, step: u64) -> PathBuf {
    let tensors = tiny::adapter(step, RANK, &LORA_TARGETS).into_iter().map(|(name, shape, weight)| {
        let zeros = vec![0.0; weight.len()];
        TensorState { name, shape, m: zeros.clone(), v: zeros, weight }
    });
    let digest = || "0".repeat(64);
    let state = State {
        version: VERSION,
        progress: Progress { step, ..Progress::default() },
        seed: 0,
        metrics_bytes: 0,
        backend: "test".to_owned(),
        identity: Identity {
            job_sha256: digest(),
            base_sha256: digest(),
            data_sha256: digest(),
            samples_sha256: digest(),
            warm_start_sha256: None,
        },
    };
    let (beside, place) = (run.join("beside"), run.join("checkpoints").join(directory_name(step)));
    fs::create_dir_all(run.join("checkpoints")).unwrap();
    fs::create_dir(&beside).unwrap();
    for (name, bytes) in encode(&Checkpoint { state, tensors: tensors.collect() }) {
        fs::write(beside.join(name), bytes).unwrap();
    }
    fs::rename(beside, &place).unwrap();
    place
}

/// Lets the trainer end with an adapter, and waits until the job is COMPLETED.
pub fn finish(server: &Server, run: &std::path::Path, id: &str) {
    tiny::write_adapter_of_rank(&run.join("made"), 99, RANK);
    fs::write(run.join("go"), "").unwrap();
    until(server, &format!("{JOBS}/{id}"), |job| job["state"] == "JOB_STATE_COMPLETED");
}

/// Nothing that was begun is left.
pub fn assert_nothing_staged(server: &Server) {
    let staging = server.dir.path().join("models/.staging");
    let left: Vec<_> =
        fs::read_dir(staging).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
