//! Deployments over tiny models.

mod create;
mod delete;
mod get;
mod list;
mod scale;
mod undelete;
mod update;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Reply, Server};

pub const PATH: &str = "/v1/accounts/default/deployments";
pub const BASE: &str = "accounts/fireworks/models/tiny";
pub const TUNED: &str = "accounts/default/models/tuned";
/// Longest wait for a load of a tiny model.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server with a base, an adapter of it, and one of another account.
pub fn server() -> Server {
    crate::openai::server()
}

pub fn create(server: &Server, id: &str, body: &Value) -> Reply {
    server.post(&format!("{PATH}?deploymentId={id}"), body)
}

/// Waits until something is so.
pub fn until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a deployment has its replica.
pub fn ready(server: &Server, id: &str) {
    until(id, || {
        let shown = server.get(&format!("{PATH}/{id}")).ok();
        assert_ne!(shown["state"], "FAILED", "{shown}");
        shown["state"] == "READY" && shown["replicaCount"] == 1
    });
}

/// A deployment that is loaded.
pub fn deployed(server: &Server, id: &str, base_model: &str) {
    create(server, id, &json!({"baseModel": base_model, "enableAddons": base_model == BASE})).ok();
    ready(server, id);
}

/// Answers, or the status and code of the error.
pub fn ask(server: &Server, model: &str) -> (u16, String) {
    let body = json!({
        "model": model, "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 2,
    });
    let reply = server.post("/inference/v1/chat/completions", &body);
    (reply.status, reply.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}
