//! Starting, stopping, and starting again.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::server::{Server, config};

#[test]
fn what_was_made_is_there_after_a_restart() {
    let server = Server::start();
    let key = server.key.clone();
    let mode = std::fs::metadata(server.dir.path().join("api-key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "rows"})).ok();
    let server = Server::start_in(server.stop());
    assert_eq!(server.key, key);
    assert_eq!(server.get("/v1/accounts/default/datasets/rows").status, 200);
}

#[test]
fn one_server_per_directory() {
    let server = Server::start();
    let second = server.runtime().block_on(hearth_server::serve(config(server.dir.path())));
    let error = second.err().unwrap().to_string();
    assert!(error.starts_with("another server uses "), "{error}");
}
