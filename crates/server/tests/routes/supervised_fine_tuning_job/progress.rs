//! What a job shows of itself while it runs, and why it came to its end.

use std::fs;

use hearth_domain::schedule::Limits;
use hearth_server::ServerConfig;
use serde_json::{Value, json};

use super::JOBS;
use crate::server::{Server, install_model};

/// Trains three steps of four. At the file `back` it does the second one again, as a trainer that goes on from a
/// checkpoint, and at the file `end` it fails.
const TRAINER: &str = r#"
dir="$1"
exec 9>"$dir/lock"
flock -n 9 || exit 73
seq=0
emit() { seq=$((seq + 1)); printf '{"seq":%d,"time_ms":1,"type":%s}\n' "$seq" "$1" >> "$dir/events.jsonl"; }
validated() { emit '"validated","rows":9,"samples":4,"dropped_too_long":2,"dropped_lines":[3,7],"tokens_per_epoch":50,"trained_tokens_per_epoch":20,"eval_rows":3,"eval_carved_out":3,"eval_dropped":{"count":0,"lines":[]},"total_steps":4'; }
step() { emit "\"step\",\"step\":$1,\"total_steps\":4,\"epoch\":$2,\"total_samples\":$3,\"total_tokens\":$4,\"loss\":1.0,\"learning_rate\":0.001,\"grad_norm\":1.0,\"tokens\":10,\"trained_tokens\":5,\"samples\":2,\"tokens_per_second\":10.0,\"seconds_remaining\":1.0,\"rss_bytes\":1"; }
wait_for() { n=0; while [ ! -e "$dir/$1" ] && [ $n -lt 2000 ]; do sleep 0.02 9>&-; n=$((n + 1)); done; }
emit "\"started\",\"pid\":$$,\"resumed_from_step\":0"
validated; step 1 0.5 2 1000000000; step 2 1.0 4 2000000000; step 3 1.5 6 3000000000
wait_for back
validated; step 2 1.0 4 2000000000; emit '"warning","message":"the second step was done again"'
wait_for end
emit '"failed","kind":"invalid_data","message":"line 3 has no assistant turn"'
exit 1
"#;

/// With the base `tiny`, the dataset `rows`, and such a trainer.
fn server(change: impl FnOnce(&mut ServerConfig)) -> Server {
    let server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        let script = config.data_dir.join("trainer.sh");
        fs::write(&script, TRAINER).unwrap();
        let jobs = config.jobs.as_mut().unwrap();
        jobs.limits = Limits { capacity: 1, ..Limits::default() };
        jobs.trainer = vec!["/bin/sh".into(), script.into()];
        change(config);
    });
    install_model(server.dir.path(), "fireworks", "tiny", None);
    server.ready_dataset("rows");
    server
}

#[test]
fn a_job_tells_how_far_it_is_and_why_it_failed() {
    let server = server(|_| {});
    super::create(&server, "j");
    let path = format!("{JOBS}/j");
    let running = server.wait_for(&path, |job| job["jobProgress"]["percent"] == 75);
    // No two of those that count something are the same.
    let progress = json!({
        "percent": 75, "epoch": 1, "chunk": 0, "totalInputRequests": 9, "totalProcessedRequests": 6,
        "successfullyProcessedRequests": 6, "failedRequests": 0, "outputRows": 0, "inputTokens": i32::MAX,
        "outputTokens": 0, "cachedInputTokenCount": 0,
    });
    assert_eq!(running["jobProgress"], progress);
    let note = "2 of 9 rows are longer than 2048 tokens (maxContextLength) and are left out: lines 3, 7; 3 rows are set \
                aside for evaluation";
    assert_eq!(running["status"], json!({"code": "OK", "message": note}));
    assert_eq!((&running["state"], running.get("completedTime")), (&json!("JOB_STATE_RUNNING"), None));

    let run = server.dir.path().join("runs/default/j");
    fs::write(run.join("back"), "").unwrap();
    let is_warning = |event: &Value| event["type"] == "WARNING";
    server.wait_for(&format!("{path}/events"), |list| {
        list["events"].as_array().unwrap().iter().any(is_warning)
    });
    assert_eq!(server.get(&path).ok()["jobProgress"], progress);

    fs::write(run.join("end"), "").unwrap();
    let failed = server.wait_for(&path, |job| job["state"] == "JOB_STATE_FAILED");
    let why = json!({"code": "INVALID_ARGUMENT", "message": "line 3 has no assistant turn"});
    assert_eq!((&failed["status"], &failed["jobProgress"]), (&why, &progress));
    assert!(failed["completedTime"].is_string());
}

#[test]
fn a_job_that_waited_too_long_says_so() {
    let server = server(|config| {
        let limits = &mut config.jobs.as_mut().unwrap().limits;
        (limits.capacity, limits.wait_max_ms) = (0, Some(0));
    });
    super::create(&server, "j");
    let expired = server.wait_for(&format!("{JOBS}/j"), |job| job["state"] == "JOB_STATE_EXPIRED");
    assert_eq!(expired["status"]["code"], "DEADLINE_EXCEEDED");
    let message = expired["status"]["message"].as_str().unwrap();
    assert!(message.contains("resume it to let it wait again"), "{message}");
}
