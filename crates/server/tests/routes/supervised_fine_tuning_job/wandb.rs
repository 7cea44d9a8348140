//! `wandbConfig` of jobs: what is asked, what comes back, and where the key is not.

use serde_json::{Value, json};

use super::{JOBS, server};

const KEY: &str = "0123456789abcdef-w4ndb";

fn job(wandb: Value) -> Value {
    json!({"dataset": "rows", "baseModel": "tiny", "wandbConfig": wandb})
}

#[test]
fn key_and_project_are_enough() {
    let server = server();
    // As fireworks-ai 0.19 sends it.
    let given = job(json!({"apiKey": KEY, "project": "p", "entity": "team"}));
    let made = server.post(&format!("{JOBS}?supervisedFineTuningJobId=j"), &given).ok();
    let run_id = made["wandbConfig"]["runId"].as_str().unwrap();
    assert_eq!(run_id.len(), 8);
    let expect = json!({
        "enabled": true, "apiKey": "", "project": "p", "entity": "team", "runId": run_id, "url": "",
    });
    assert_eq!(made["wandbConfig"], expect);
    let given = job(json!({"enabled": true, "apiKey": KEY, "project": "p", "runId": "mine"}));
    let made = server.post(&format!("{JOBS}?supervisedFineTuningJobId=k"), &given).ok();
    assert_eq!(made["wandbConfig"]["runId"], "mine");
    assert_eq!(server.get(&format!("{JOBS}/j")).ok()["wandbConfig"]["apiKey"], "");
    let list = server.get(JOBS).ok().to_string();
    assert!(list.contains("mine") && !list.contains(KEY), "{list}");
    let found = server.get(&format!("{JOBS}?filter=wandb_config.run_id%3Dmine")).ok();
    assert_eq!(found["totalSize"], 1);
    // The service cannot be reached: the user reads that, and the job does not mind.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let warning = loop {
        let events = server.get(&format!("{JOBS}/k/events")).ok();
        if let Some(event) = events["events"].as_array().unwrap().first() {
            break event.clone();
        }
        assert!(std::time::Instant::now() < end, "no warning came");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(warning["type"], "WARNING");
    let message = warning["message"].as_str().unwrap();
    assert!(message.contains("sent again later") && !message.contains(KEY), "{message}");
    assert_eq!(server.get(&format!("{JOBS}/k")).ok()["state"], "JOB_STATE_PENDING");
    let dir = server.stop();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let content = std::fs::read(&path).unwrap();
            assert!(!content.windows(KEY.len()).any(|part| part == KEY.as_bytes()), "{}", path.display());
        }
    }
}

#[test]
fn what_is_missing_or_cannot_be_is_named() {
    let server = server();
    let check = |wandb: Value, fields: &[&str]| {
        let reply = server.post(JOBS, &job(wandb.clone()));
        let (status, code, message) = reply.error();
        assert_eq!((status, code), (400, 3), "{wandb}: {message}");
        assert!(!message.contains(KEY), "{message}");
        let violations = reply.json()["details"][0]["fieldViolations"].as_array().unwrap().clone();
        let found: Vec<&str> = violations.iter().map(|one| one["field"].as_str().unwrap()).collect();
        assert_eq!(found, fields, "{wandb}");
    };
    check(json!({"enabled": true}), &["wandbConfig.apiKey", "wandbConfig.project"]);
    check(json!({"apiKey": KEY}), &["wandbConfig.project"]);
    check(json!({"project": "p"}), &["wandbConfig.apiKey"]);
    check(json!({"apiKey": KEY, "project": "a/b"}), &["wandbConfig.project"]);
    check(json!({"apiKey": KEY, "project": "p", "entity": ".."}), &["wandbConfig.entity"]);
    check(json!({"apiKey": KEY, "project": "p", "runId": "x".repeat(129)}), &["wandbConfig.runId"]);
    check(json!({"apiKey": format!("{KEY}\n"), "project": "p"}), &["wandbConfig.apiKey"]);
    check(json!({"apiKey": "k".repeat(1025), "project": "p"}), &["wandbConfig.apiKey"]);
}
