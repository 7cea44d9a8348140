//! Starting, stopping, and starting again.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::server::{Server, config, rows};

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

/// What a server leaves that is killed in the middle of an upload, or between the two halves of a deletion.
#[test]
fn a_start_sweeps_what_nobody_has() {
    let server = Server::start();
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "rows"})).ok();
    server.upload("/v1/accounts/default/datasets/rows:upload", "a.jsonl", rows().as_bytes()).ok();
    let dir = server.stop();
    let files = dir.path().join("objects/datasets/default");
    std::fs::write(files.join("rows/b.jsonl#1"), "half a row").unwrap();
    std::fs::create_dir(files.join("gone")).unwrap();
    std::fs::write(files.join("gone/a.jsonl"), rows()).unwrap();
    let _server = Server::start_in(dir);
    let left: Vec<_> =
        std::fs::read_dir(files.join("rows")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["a.jsonl"]);
    assert!(!files.join("gone").exists());
}

#[test]
fn one_server_per_directory() {
    let server = Server::start();
    let second = server.runtime().block_on(hearth_server::serve(config(server.dir.path())));
    let error = second.err().unwrap().to_string();
    assert!(error.starts_with("another server uses "), "{error}");
}
