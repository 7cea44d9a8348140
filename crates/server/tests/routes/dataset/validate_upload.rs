//! `POST .../datasets/{dataset}:validateUpload`.

use serde_json::json;

use super::upload_files;
use crate::server::{Server, rows};
use crate::snapshot;

const DATASET: &str = "/v1/accounts/default/datasets/rows";

/// Uploads files and validates them.
fn validate(files: &[(&str, &[u8])]) -> (Server, crate::server::Reply) {
    let server = Server::start();
    upload_files(&server, "rows", files);
    let reply = server.post(&format!("{DATASET}:validateUpload"), &json!({}));
    (server, reply)
}

#[test]
fn every_bad_row_is_named() {
    let bad = [
        r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#,
        "not json",
        r#"{"messages": [{"role": "robot", "content": "x"}]}"#,
        r#"{"messages": [{"role": "user", "content": "x"}]}"#,
        r#"{"prompt": "p"}"#,
        "[]",
    ]
    .join("\n");
    let mut bad = bad.into_bytes();
    bad.extend_from_slice(b"\n\xff\xfe\n");
    let (server, reply) = validate(&[("rows.jsonl", &bad)]);
    snapshot!(reply);
    snapshot!(server.get(DATASET));
}

#[test]
fn files_are_one_dataset() {
    let two: String = rows().lines().take(2).map(|line| format!("{line}\n")).collect();
    let (server, reply) = validate(&[("a.jsonl", two.as_bytes()), ("b.jsonl", two.as_bytes())]);
    reply.ok();
    assert_eq!(server.get(DATASET).ok()["exampleCount"], "4");

    let (_, reply) = validate(&[("a.jsonl", two.as_bytes())]);
    assert_eq!(
        reply.error(),
        (400, 3, "dataset: the file has 2 rows; a dataset needs at least 3 rows".to_owned())
    );

    let prompts = "{\"prompt\": \"p\", \"completion\": \"c\"}\n".repeat(3);
    let (_, reply) = validate(&[("a.jsonl", two.as_bytes()), ("b.jsonl", prompts.as_bytes())]);
    let (status, _, message) = reply.error();
    assert!(
        status == 400 && message.starts_with("a.jsonl:1: other rows have prompt and completion"),
        "{message}"
    );
}

#[test]
fn an_empty_file_is_refused() {
    let (_, reply) = validate(&[("a.jsonl", b"")]);
    let (status, _, message) = reply.error();
    assert!(status == 400 && message.contains("empty"), "{message}");
}

#[test]
fn packed_files_are_unpacked_and_damaged_ones_are_told() {
    let packed = zstd::encode_all(rows().as_bytes(), 1).unwrap();
    let (server, reply) = validate(&[("rows.jsonl.zst", &packed)]);
    reply.ok();
    assert_eq!(server.get(DATASET).ok()["exampleCount"], "5");
    let page = server.get(&format!("{DATASET}:preview")).ok();
    assert_eq!(page["examples"].as_array().unwrap().len(), 5);

    let (_, reply) = validate(&[("rows.jsonl.zst", &packed[..packed.len() / 2])]);
    let (status, code, message) = reply.error();
    assert_eq!((status, code), (400, 3), "{message}");
    assert!(message.starts_with("rows.jsonl.zst: the zstd data ends too early"), "{message}");
}
