//! `wandbConfig` of jobs: what is asked, what comes back, and where the key is not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::{JOBS, server};
use crate::server::{Server, install_model};

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

/// A service where every key belongs to the team `home`. It lives as long as the test's process.
fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let bucket = json!({"name": "mine", "project": {"name": "p", "entity": {"name": "home"}}});
    let answer = json!({"data": {"upsertBucket": {"bucket": bucket, "inserted": true}}}).to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            if stream.read_exact(&mut vec![0; length]).is_ok() {
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length";
                let _ = write!(stream.get_mut(), "{head}: {}\r\n\r\n{answer}", answer.len());
            }
        }
    });
    url
}

#[test]
fn whose_project_it_is_the_key_says_unless_the_job_does() {
    let url = service();
    let server =
        Server::start_with(tempfile::tempdir().unwrap(), |config| config.wandb_base_url = url.clone());
    install_model(server.dir.path(), "fireworks", "tiny", None);
    server.ready_dataset("rows");
    let given = job(json!({"apiKey": KEY, "project": "p", "runId": "mine"}));
    let made = server.post(&format!("{JOBS}?supervisedFineTuningJobId=j"), &given).ok();
    assert_eq!((&made["wandbConfig"]["entity"], &made["wandbConfig"]["url"]), (&json!(""), &json!("")));
    let begun = server.wait_for(&format!("{JOBS}/j"), |job| job["wandbConfig"]["url"] != "");
    let expect = json!({
        "enabled": true, "apiKey": "", "project": "p", "entity": "home", "runId": "mine",
        "url": format!("{url}/home/p/runs/mine"),
    });
    assert_eq!(begun["wandbConfig"], expect);
}

/// A client cannot say "false": it is what is not said.
#[test]
fn it_is_off_when_nothing_but_that_is_said() {
    let server = server();
    for config in [json!({"enabled": false}), json!({})] {
        let made = server.post(JOBS, &job(config)).ok();
        assert_eq!(made.get("wandbConfig"), None, "{made}");
    }
    let made = server.post(JOBS, &job(json!({"enabled": false, "apiKey": KEY, "project": "p"}))).ok();
    assert_eq!(
        (&made["wandbConfig"]["enabled"], &made["wandbConfig"]["project"]),
        (&json!(true), &json!("p"))
    );
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
