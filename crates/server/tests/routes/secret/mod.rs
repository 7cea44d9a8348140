//! Secrets.

mod create;
mod delete;
mod get;
mod list;
mod update;

use serde_json::json;

use crate::server::{Reply, Server};

const SECRETS: &str = "/v1/accounts/default/secrets";

/// A value as tests look for it.
const VALUE: &str = "hunter2-hush";

/// Makes a secret of the account `default`, whose value is [`VALUE`].
fn made(server: &Server, id: &str) -> Reply {
    server.post(SECRETS, &json!({"name": id, "keyName": "S3_KEY", "value": VALUE}))
}

/// Nowhere in the answer: not in its body, not in its header fields.
#[track_caller]
fn without_value(reply: Reply) -> Reply {
    let shown = format!("{:?} {}", reply.headers, String::from_utf8_lossy(&reply.body));
    assert!(!shown.contains("hunter2"), "{shown}");
    reply
}
