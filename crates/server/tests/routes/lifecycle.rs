//! Starting, stopping, and starting again.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use hearth_server::ServerConfig;
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
    let staging = dir.path().join("models/.staging");
    let long_ago = SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
    for (name, changed) in [("old", long_ago), ("new", SystemTime::now())] {
        std::fs::create_dir_all(staging.join(name)).unwrap();
        std::fs::write(staging.join(name).join("model.gguf"), "half a model").unwrap();
        File::open(staging.join(name)).unwrap().set_modified(changed).unwrap();
    }
    let _server = Server::start_in(dir);
    assert!(!staging.join("old").exists() && staging.join("new/model.gguf").exists());
    let left: Vec<_> =
        std::fs::read_dir(files.join("rows")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["a.jsonl"]);
    assert!(!files.join("gone").exists());
}

/// The key is shown once, so a start that cannot serve makes none.
#[test]
fn a_taken_port_makes_no_key() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let listen = server.base.strip_prefix("http://").unwrap().parse().unwrap();
    let second = ServerConfig { listen, ..config(&data_dir) };
    let error = server.runtime().block_on(hearth_server::serve(second)).err().unwrap().to_string();
    assert_eq!(error, "listening on the address failed");
    assert!(!data_dir.join("api-key").exists());
    // The directory is made for nobody else to read.
    let mode = std::fs::metadata(&data_dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn one_damaged_model_hides_no_other() {
    let server = Server::start();
    let damaged = server.dir.path().join("models/acme/broken");
    std::fs::create_dir_all(&damaged).unwrap();
    std::fs::write(damaged.join("hearth-model.json"), "{").unwrap();
    assert_eq!(server.get("/v1/accounts/default/models").ok()["models"], json!([]));
    let server = Server::start_in(server.stop());
    assert_eq!(server.get("/v1/accounts/acme/models/broken").status, 404);
}

#[test]
fn one_server_per_directory() {
    let server = Server::start();
    let second = server.runtime().block_on(hearth_server::serve(config(server.dir.path())));
    let error = second.err().unwrap().to_string();
    assert!(error.starts_with("another server uses "), "{error}");
}
