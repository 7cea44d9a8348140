//! `POST .../datasets/{dataset}:upload`, the multipart form.

use serde_json::json;

use crate::server::{Server, rows};
use crate::snapshot;

const PATH: &str = "/v1/accounts/default/datasets/rows:upload";

fn server() -> Server {
    let server = Server::start();
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "rows"})).ok();
    server
}

#[test]
fn the_dataset_is_ready_at_once() {
    let server = server();
    snapshot!(server.upload(PATH, "rows.jsonl", rows().as_bytes()));
    let dataset = server.get("/v1/accounts/default/datasets/rows").ok();
    assert_eq!(
        (&dataset["state"], &dataset["exampleCount"], &dataset["format"]),
        (&json!("READY"), &json!("5"), &json!("CHAT"))
    );
    let files = &dataset["files"];
    use sha2::Digest;
    let sha256 = hex::encode(sha2::Sha256::digest(rows()));
    assert_eq!(
        files,
        &json!([{"name": "rows.jsonl", "sizeBytes": rows().len().to_string(), "sha256": sha256}])
    );
    let again = server.upload(PATH, "rows.jsonl", rows().as_bytes());
    assert_eq!((again.status, again.error().1), (400, 9));
}

#[test]
fn a_bad_file_leaves_nothing_behind() {
    let server = server();
    let bad = format!("{}{}\n", rows(), r#"{"messages": [{"role": "robot", "content": "x"}]}"#);
    snapshot!(server.upload(PATH, "rows.jsonl", bad.as_bytes()));
    snapshot!(server.get("/v1/accounts/default/datasets/rows"));
    let left = std::fs::read_dir(server.dir.path().join("objects/datasets/default/rows"));
    assert_eq!(left.map_or(0, Iterator::count), 0);
    server.upload(PATH, "rows.jsonl", rows().as_bytes()).ok();
}

#[test]
fn forms_without_the_file_are_refused() {
    let server = server();
    let (status, _, message) = server.send("POST", PATH, b"{}").error();
    assert_eq!((status, message.contains("multipart")), (400, true), "{message}");
    for (name, part) in [("rows.csv", ".jsonl"), ("../rows.jsonl", "file name"), (".jsonl", "file name")] {
        let (status, _, message) = server.upload(PATH, name, rows().as_bytes()).error();
        assert!(status == 400 && message.contains(part), "{name}: {status} {message}");
    }
}

#[test]
fn a_file_over_the_limit_is_refused_at_once() {
    let server = server();
    let bearer = format!("Bearer {}", server.key);
    let address = server.base.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    use std::io::{Read, Write};
    write!(
        stream,
        "POST {PATH} HTTP/1.1\r\nhost: {address}\r\nauthorization: {bearer}\r\nconnection: close\r\n\
         content-type: multipart/form-data; boundary=x\r\ncontent-length: {}\r\n\r\n",
        160 << 20
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 413") && reply.contains("\"code\":3"), "{reply}");
    assert_eq!(server.get("/v1/accounts/default/datasets/rows").ok()["state"], "UPLOADING");
}
