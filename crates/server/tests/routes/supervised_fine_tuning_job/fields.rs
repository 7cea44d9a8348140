//! Fields of a job that need no file of their own: ranges, times, names, and what is refused.

use std::thread::sleep;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{JOBS, create, server};
use crate::server::install_model;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A time of a job in milliseconds.
fn time_ms(job: &Value, field: &str) -> i64 {
    let time: prost_types::Timestamp = job[field].as_str().unwrap().parse().unwrap();
    time.seconds * 1000 + i64::from(time.nanos / 1_000_000)
}

#[test]
fn numbers_have_ranges() {
    let server = server();
    let asked = |field: &str, value: &Value| {
        server.post(JOBS, &json!({"dataset": "rows", "baseModel": "tiny", field: value}))
    };
    for (field, taken, refused) in [
        ("epochs", json!([1, 100]), json!([-1, 101])),
        ("learningRate", json!([0.000001, 0.1]), json!([-0.001, 0.11])),
        ("learningRateWarmupSteps", json!([]), json!([-1, 1_000_001])),
        ("optimizerWeightDecay", json!([0.5, 1.0]), json!([-0.1, 1.01])),
        ("loraRank", json!([1, 32]), json!([-1, 33])),
        ("maxContextLength", json!([16, 2048]), json!([-1, 15, 2049])),
        ("batchSize", json!([16, 1 << 20]), json!([-1, 15, (1 << 20) + 1])),
        ("batchSizeSamples", json!([1, 1024]), json!([-1, 1025])),
        ("gradientAccumulationSteps", json!([1, 1024]), json!([-1, 1025])),
        ("samplerCheckpointSaveIntervalSteps", json!([1, 1000]), json!([-1])),
        ("nodes", json!([1]), json!([-1])),
    ] {
        for value in taken.as_array().unwrap() {
            assert_eq!(&asked(field, value).ok()[field], value, "{field}");
        }
        for value in refused.as_array().unwrap() {
            let (status, code, message) = asked(field, value).error();
            assert_eq!((status, code), (400, 3), "{field} {value}: {message}");
            assert!(message.starts_with(&format!("{field}: ")), "{field} {value}: {message}");
        }
    }
    let both = json!({"dataset": "rows", "baseModel": "tiny", "batchSize": 512, "batchSizeSamples": 4});
    let (status, code, message) = server.post(JOBS, &both).error();
    assert_eq!((status, code), (400, 3));
    assert!(message.contains("only one of batchSize (tokens) and batchSizeSamples can decide"), "{message}");
}

#[test]
fn datasets_that_are_not_ready_are_refused() {
    let server = server();
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "empty"})).ok();
    for field in ["dataset", "evaluationDataset"] {
        let mut body = json!({"dataset": "rows", "baseModel": "tiny"});
        body[field] = json!("empty");
        let expect =
            format!("{field}: dataset empty is not READY; upload its files and call validateUpload first");
        assert_eq!(server.post(JOBS, &body).error(), (400, 9, expect));
    }
}

#[test]
fn a_name_for_people_is_kept_and_not_long() {
    let server = server();
    let asked = |name: String| {
        server.post(JOBS, &json!({"dataset": "rows", "baseModel": "tiny", "displayName": name}))
    };
    let longest = "ü".repeat(63);
    assert_eq!(asked(longest.clone()).ok()["displayName"], longest);
    let expect = "displayName: is longer than 63 characters".to_owned();
    assert_eq!(asked("ü".repeat(64)).error(), (400, 3, expect));
}

#[test]
fn what_is_not_acted_on_is_refused_by_name() {
    let server = server();
    for (field, value) in [
        ("baseModelWeightPrecision", json!("BFLOAT16")),
        ("customImageTag", json!("x")),
        ("precision", json!("BFLOAT16")),
        ("extraArgs", json!(["x"])),
        ("rendererHuggingFaceRepoId", json!("a/b")),
        ("mtpEnabled", json!(true)),
    ] {
        let (status, code, message) =
            server.post(JOBS, &json!({"dataset": "rows", "baseModel": "tiny", field: value})).error();
        assert_eq!((status, code), (501, 12), "{field}: {message}");
        assert_eq!(message, format!("{field}: this server does not support this field yet; leave it out"));
    }
    assert_eq!(server.get(JOBS).ok()["totalSize"], 0);
}

#[test]
fn times_follow_a_job() {
    let server = server();
    let path = format!("{JOBS}/j");
    let before_ms = now_ms();
    let made = create(&server, "j");
    let made_ms = time_ms(&made, "createTime");
    assert!((before_ms..=now_ms()).contains(&made_ms), "{made}");
    assert_eq!(time_ms(&made, "updateTime"), made_ms);
    let mut last_ms = made_ms;
    for (verb, is_at_its_end) in [("pause", false), ("cancel", true), ("resume", false)] {
        // The clock goes on, so that the time of the change is another one.
        sleep(Duration::from_millis(5));
        server.post(&format!("{path}:{verb}"), &json!({})).ok();
        let job = server.get(&path).ok();
        let update_ms = time_ms(&job, "updateTime");
        assert!(update_ms > last_ms && update_ms <= now_ms(), "{verb}: {job}");
        assert_eq!(time_ms(&job, "createTime"), made_ms, "{verb}");
        match is_at_its_end {
            true => assert_eq!(time_ms(&job, "completedTime"), update_ms, "{verb}"),
            false => assert_eq!(job.get("completedTime"), None, "{verb}"),
        }
        last_ms = update_ms;
    }
    // Looking is no change.
    assert_eq!(time_ms(&server.get(&path).ok(), "updateTime"), last_ms);
}

#[test]
fn a_job_says_whose_key_made_it() {
    let server = server();
    let key = json!({"apiKey": {"email": "ada@example.org"}});
    let key = server.post("/v1/accounts/default/apiKeys", &key).ok();
    let body = json!({"dataset": "rows", "baseModel": "tiny", "createdBy": "eve@example.org"}).to_string();
    let made = server.send_as(key["key"].as_str(), "POST", JOBS, body.as_bytes()).ok();
    assert_eq!(made["createdBy"], "ada@example.org");
    let path = format!("/v1/{}", made["name"].as_str().unwrap());
    assert_eq!(server.get(&path).ok()["createdBy"], "ada@example.org");
}

#[test]
fn an_id_is_looked_for_in_the_account_and_in_the_catalogue() {
    let server = server();
    install_model(server.dir.path(), "default", "own", None);
    for (given, expect) in [
        ("own", "accounts/default/models/own"),
        ("accounts/default/models/own", "accounts/default/models/own"),
        ("tiny", "accounts/fireworks/models/tiny"),
        ("accounts/fireworks/models/tiny", "accounts/fireworks/models/tiny"),
    ] {
        let made = server.post(JOBS, &json!({"dataset": "rows", "baseModel": given})).ok();
        assert_eq!(made["baseModel"], expect, "{given}");
    }
}
