//! What webhooks are told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::receiver::Receiver;
use super::{WEBHOOKS, create, server, server_in};
use crate::server::Server;
use crate::supervised_fine_tuning_job::{JOBS, create as create_job};

/// Makes a job and lets its state change three times.
fn three_changes(server: &Server, job: &str) {
    create_job(server, job);
    for verb in ["cancel", "resume", "cancel"] {
        server.post(&format!("{JOBS}/{job}:{verb}"), &json!({})).ok();
    }
}

/// Waits until something is true of a webhook.
fn until(server: &Server, id: &str, what: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let webhook = server.get(&format!("{WEBHOOKS}/{id}")).ok();
        if what(&webhook) {
            return webhook;
        }
        assert!(Instant::now() < end, "never: {webhook}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn changes_arrive_in_order_and_signed() {
    let server = server();
    let receiver = Receiver::start();
    let made = create(&server, "all", &json!({ "url": receiver.url }));
    let some = Receiver::start();
    create(&server, "some", &json!({ "url": some.url, "eventTypes": ["fine_tuning.job.queued"] }));
    three_changes(&server, "j");
    let seen = receiver.until(3);
    let kinds: Vec<String> = seen.iter().map(super::receiver::Seen::kind).collect();
    assert_eq!(kinds, ["fine_tuning.job.cancelled", "fine_tuning.job.queued", "fine_tuning.job.cancelled"]);
    let secret = made["signingSecret"].as_str().unwrap();
    let mut ids: Vec<&str> = Vec::new();
    for one in &seen {
        assert!(one.is_signed(secret) && !one.is_signed("whsec_AAAA"), "{one:?}");
        assert_eq!((one.path.as_str(), one.headers["content-type"].as_str()), ("/hook", "application/json"));
        assert_eq!(one.json()["id"], one.headers["webhook-id"].as_str());
        ids.push(&one.headers["webhook-id"]);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let data = &seen[1].json()["data"];
    let expect = json!({
        "id": "j", "name": "accounts/default/supervisedFineTuningJobs/j", "state": "JOB_STATE_PENDING",
        "previousState": "JOB_STATE_CANCELLED", "message": "", "sequenceNumber": "2",
    });
    assert_eq!(data, &expect);
    assert_eq!(some.until(1)[0].kind(), "fine_tuning.job.queued");
    let healthy = until(&server, "all", |webhook| webhook["lastSuccessTime"].is_string());
    assert_eq!((&healthy["state"], &healthy["consecutiveFailures"]), (&"ACTIVE".into(), &0.into()));
    assert_eq!(receiver.seen().len(), 3);
}

#[test]
fn what_was_not_taken_in_is_sent_again_by_the_next_server() {
    let server = server();
    let receiver = Receiver::start();
    receiver.answers("500 Internal Server Error");
    create(&server, "w", &json!({ "url": receiver.url }));
    three_changes(&server, "j");
    let failing = until(&server, "w", |webhook| webhook["consecutiveFailures"] != 0);
    assert_eq!(failing["lastError"], "it answered with HTTP 500");
    // The later ones wait for the first.
    let first = receiver.seen()[0].headers["webhook-id"].clone();
    assert!(receiver.seen().iter().all(|one| one.headers["webhook-id"] == first));
    let tries = receiver.seen().len();
    receiver.answers("200 OK");
    let server = server_in(server.stop());
    let seen = receiver.until(tries + 3);
    assert_eq!(seen[tries].headers["webhook-id"], first);
    let kinds: Vec<String> = seen[tries..].iter().map(super::receiver::Seen::kind).collect();
    assert_eq!(kinds, ["fine_tuning.job.cancelled", "fine_tuning.job.queued", "fine_tuning.job.cancelled"]);
    let healthy = until(&server, "w", |webhook| webhook["consecutiveFailures"] == 0);
    assert_eq!((&healthy["lastError"], &healthy["droppedEvents"]), (&"".into(), &"0".into()));
}

#[test]
fn redirects_are_not_followed() {
    let server = server();
    let (receiver, other) = (Receiver::start(), Receiver::start());
    receiver.answers(&format!("302 Found\r\nlocation: {}", other.url));
    create(&server, "w", &json!({ "url": receiver.url }));
    three_changes(&server, "j");
    let failing = until(&server, "w", |webhook| webhook["consecutiveFailures"] != 0);
    assert_eq!(failing["lastError"], "it answered with HTTP 302; redirects are not followed");
    assert!(other.seen().is_empty());
}

/// A server that is started without the permission keeps to it, whatever was allowed before.
#[test]
fn this_machine_is_not_reached_without_permission() {
    let server = server();
    let receiver = Receiver::start();
    receiver.answers("500 Internal Server Error");
    create(&server, "w", &json!({ "url": receiver.url.replace("127.0.0.1", "localhost") }));
    let server = Server::start_in(server.stop());
    three_changes(&server, "j");
    let failing = until(&server, "w", |webhook| webhook["consecutiveFailures"] != 0);
    assert!(failing["lastError"].as_str().unwrap().contains("public internet"), "{failing}");
    assert!(receiver.seen().is_empty());
}

#[test]
fn one_that_is_dead_holds_up_no_other() {
    let server = server();
    // Takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    create(&server, "dead", &json!({ "url": url }));
    let receiver = Receiver::start();
    create(&server, "lives", &json!({ "url": receiver.url }));
    for job in ["a", "b", "c", "d"] {
        three_changes(&server, job);
    }
    assert_eq!(receiver.until(12).len(), 12);
    server.delete(&format!("{WEBHOOKS}/dead")).ok();
}
