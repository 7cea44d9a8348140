//! `POST .../supervisedFineTuningJobs:estimateCost`, and what a job says of itself before it runs. The counting process is
//! a shell script here that has one answer; `conformance/sdk.py` has the real one.

use std::fs;

use hearth_domain::TrainingPrices;
use serde_json::{Value, json};

use super::JOBS;
use crate::dataset::render_preview::{chat, install, ready};
use crate::server::{Reply, Server, install_model};

const ESTIMATE: &str = r#"{"estimated": {"rows": 41, "dropped_rows": 3, "eval_rows": 0, "tokens_per_epoch": 1000,
    "tokens": 3000, "trained_tokens": 900, "total_steps": 15, "memory_bytes": {"low": 1000, "high": 2000},
    "least_memory_bytes": 500, "seconds": {"low": 1.5, "high": 8.25}}}"#;
const FAILED: &str = r#"{"failed": {"kind": "invalid_data", "message": "line 3: there are no messages"}}"#;

/// A server whose counting process writes down how it was called and says `reply`.
fn server_with(reply: &str, prices: &[&str]) -> Server {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path());
    let script = dir.path().join("trainer.sh");
    let called = dir.path().join("called");
    let text = format!("echo \"$1\" >> {0}; ls \"$2\" >> {0}; cat <<'END'\n{reply}\nEND\n", called.display());
    fs::write(&script, text).unwrap();
    let server = Server::start_with(dir, |config| {
        config.training_prices = TrainingPrices::parse(prices.iter().copied()).unwrap();
        config.jobs.as_mut().unwrap().trainer = vec!["/bin/sh".into(), script.into()];
    });
    ready(&server, "rows", &format!("{}\n", chat(&["question", "answer"])).repeat(3));
    server
}

fn estimate(server: &Server, more: Value) -> Reply {
    let mut job = json!({"dataset": "rows", "baseModel": "words"});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post(&format!("{JOBS}:estimateCost"), &job)
}

/// The manifest of the base here tells of no parameters, so the price of the smallest counts.
#[test]
fn what_was_counted_has_a_price() {
    let server = server_with(ESTIMATE, &["2.50 EUR", "1=9 EUR"]);
    let expect = json!({
        "estimatedCost": {"currencyCode": "EUR", "units": "0", "nanos": 27_000_000},
        "tokensPerEpoch": "1000",
        "tokens": "3000",
        "trainedTokens": "900",
        "steps": "15",
        "rows": "41",
        "droppedRows": "3",
        "resourceEstimate": {"secondsLow": 1.5, "secondsHigh": 8.25, "memoryBytesLow": "1000",
            "memoryBytesHigh": "2000", "leastMemoryBytes": "500"},
    });
    assert_eq!(estimate(&server, json!({})).ok(), expect);
    // Nothing was made, and nothing is left.
    assert_eq!(server.get(JOBS).ok()["totalSize"], 0);
    let called = fs::read_to_string(server.dir.path().join("called")).unwrap();
    assert_eq!(called, "--estimate\ndata\nestimate.log\njob.json\n");
    assert_eq!(fs::read_dir(server.dir.path().join("estimates")).unwrap().count(), 0);
}

#[test]
fn a_job_says_what_it_will_cost_before_it_runs() {
    let server = server_with(ESTIMATE, &["2 USD"]);
    let job = server.post(JOBS, &json!({"dataset": "rows", "baseModel": "words"})).ok();
    let name = job["name"].as_str().unwrap();
    assert_eq!(job.get("estimatedCost"), None, "nobody has looked at the rows yet");
    let job = server.wait_for(&format!("/v1/{name}"), |job| job.get("estimatedCost").is_some());
    assert_eq!(job["estimatedCost"], json!({"currencyCode": "USD", "units": "0", "nanos": 6_000_000}));
    assert_eq!(job["resourceEstimate"]["secondsHigh"], 8.25);
    assert_eq!(job["state"], "JOB_STATE_PENDING");
}

#[test]
fn it_is_free_unless_the_operator_says_otherwise() {
    let cost = estimate(&server_with(ESTIMATE, &[]), json!({})).ok()["estimatedCost"].clone();
    assert_eq!(cost, json!({"currencyCode": "USD", "units": "0", "nanos": 0}));
}

#[test]
fn a_job_that_could_not_be_made_has_the_same_error() {
    let server = server_with(ESTIMATE, &[]);
    install_model(server.dir.path(), "default", "adapter", Some("words"));
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "empty"})).ok();
    let check = |more: Value, expect: (u16, i64), part: &str| {
        let mut job = json!({"dataset": "rows", "baseModel": "words"});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, code, message) = estimate(&server, more.clone()).error();
        assert_eq!((status, code), expect, "{more}: {message}");
        assert!(message.contains(part), "{message}");
        assert_eq!(server.post(JOBS, &job).error(), (status, code, message));
    };
    check(json!({"dataset": "gone"}), (400, 9), "dataset gone does not exist or was deleted");
    check(json!({"dataset": "empty"}), (400, 9), "not READY");
    check(json!({"dataset": ""}), (400, 3), "is required");
    check(json!({"baseModel": "adapter"}), (400, 3), "is an adapter");
    check(json!({"epochs": 101, "loraRank": -1}), (400, 3), "epochs");
    check(json!({"mtpEnabled": true}), (501, 12), "mtpEnabled");
    check(json!({"earlyStop": true}), (400, 3), "earlyStop");
    check(json!({"customImageTag": "x"}), (501, 12), "customImageTag");
}

#[test]
fn a_job_that_would_fail_says_why() {
    let (status, code, message) = estimate(&server_with(FAILED, &[]), json!({})).error();
    assert_eq!((status, code, message.as_str()), (400, 3, "line 3: there are no messages"));
}

#[test]
fn a_process_that_says_nothing_is_a_defect() {
    let (status, code, message) = estimate(&server_with("no JSON", &[]), json!({})).error();
    assert_eq!((status, code), (500, 13));
    assert!(message.contains("the server's log has the cause"), "{message}");
}
