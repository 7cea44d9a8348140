//! Webhooks: the resource, and what they are told.

mod deliver;
mod receiver;

use hearth_server::limits::WEBHOOKS_PER_ACCOUNT_MAX;
use serde_json::{Value, json};

use crate::server::{Server, install_model};

/// Path of the collection.
const WEBHOOKS: &str = "/v1/accounts/default/webhooks";

/// A server that lets webhooks be on this machine, with what a job needs.
fn server_in(dir: tempfile::TempDir) -> Server {
    Server::start_with(dir, |config| config.webhook_allow_private = true)
}

fn server() -> Server {
    let server = server_in(tempfile::tempdir().unwrap());
    install_model(server.dir.path(), "fireworks", "tiny", None);
    server.ready_dataset("rows");
    server
}

fn create(server: &Server, id: &str, webhook: &Value) -> Value {
    server.post(WEBHOOKS, &json!({ "webhookId": id, "webhook": webhook })).ok()
}

#[test]
fn a_webhook_shows_its_secret_once() {
    let server = Server::start();
    let given = json!({
        "url": "https://example.org/hook",
        "displayName": "Mine",
        "eventTypes": ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.failed"],
    });
    let made = create(&server, "mine", &given);
    let secret = made["signingSecret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{made}");
    let expect = json!({
        "name": "accounts/default/webhooks/mine", "displayName": "Mine", "url": "https://example.org/hook",
        "eventTypes": ["fine_tuning.job.failed", "fine_tuning.job.succeeded"], "signingSecret": "",
        "state": "ACTIVE", "createdBy": "operator@localhost", "consecutiveFailures": 0, "lastError": "",
        "droppedEvents": "0", "createTime": made["createTime"], "updateTime": made["updateTime"],
    });
    let read = server.get(&format!("{WEBHOOKS}/mine")).ok();
    assert_eq!(read, expect);
    let list = server.get(WEBHOOKS).ok();
    assert_eq!(list["webhooks"], json!([expect]));
    let filtered = server.get(&format!("{WEBHOOKS}?filter=state%3DFAILING")).ok();
    assert_eq!(filtered["totalSize"], 0);
    let taken =
        server.post(WEBHOOKS, &json!({"webhookId": "mine", "webhook": {"url": "https://example.org"}}));
    assert_eq!(taken.error().1, 6);
    // It stands in no file either.
    for entry in std::fs::read_dir(server.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let content = std::fs::read(&path).unwrap();
            assert!(
                !content.windows(secret.len()).any(|part| part == secret.as_bytes()),
                "{}",
                path.display()
            );
        }
    }
    server.delete(&format!("{WEBHOOKS}/mine")).ok();
    assert_eq!(server.get(&format!("{WEBHOOKS}/mine")).error().1, 5);
    assert_eq!(server.delete(&format!("{WEBHOOKS}/mine")).error().1, 5);
}

#[test]
fn what_cannot_be_told_is_refused() {
    let server = Server::start();
    let check = |webhook: Value, field: &str| {
        let reply = server.post(WEBHOOKS, &json!({ "webhook": webhook }));
        let (status, code, message) = reply.error();
        assert_eq!((status, code), (400, 3), "{webhook}: {message}");
        assert_eq!(reply.json()["details"][0]["fieldViolations"][0]["field"], field, "{message}");
    };
    check(json!({}), "webhook.url");
    check(json!({"url": "ftp://example.org"}), "webhook.url");
    check(json!({"url": "http://127.0.0.1:1/"}), "webhook.url");
    check(json!({"url": "http://localhost/"}), "webhook.url");
    check(json!({"url": "https://example.org", "eventTypes": ["job.done"]}), "webhook.eventTypes");
    check(json!({"url": "https://example.org", "displayName": "x".repeat(64)}), "webhook.displayName");
    assert_eq!(server.post(WEBHOOKS, &json!({})).error().1, 3);
    let wrong_id = json!({"webhookId": "No", "webhook": {"url": "https://example.org"}});
    assert_eq!(server.post(WEBHOOKS, &wrong_id).error().1, 3);
    for _ in 0..WEBHOOKS_PER_ACCOUNT_MAX {
        server.post(WEBHOOKS, &json!({"webhook": {"url": "https://example.org"}})).ok();
    }
    let more = server.post(WEBHOOKS, &json!({"webhook": {"url": "https://example.org"}}));
    assert_eq!(more.error().1, 8);
}
