//! Requests that cannot be right: each gets its code, a message that says what and where, and changes nothing.

use serde_json::json;

use crate::server::{Server, install_model, rows};

const DATASETS: &str = "/v1/accounts/default/datasets";
const JOBS: &str = "/v1/accounts/default/supervisedFineTuningJobs";

#[test]
fn requests() {
    let server = Server::start();
    let check = |method: &str, path: &str, body: &[u8], status: u16, code: i64, part: &str| {
        let (found, found_code, message) = server.send(method, path, body).error();
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert!(
            (found, found_code) == (status, code) && message.contains(part),
            "{method} {path} {shown}: {found} {found_code} {message}"
        );
    };
    check("POST", DATASETS, b"{\"datasetId\": }", 400, 3, "line 1 column 15");
    check("POST", DATASETS, b"{\"datasetId\": \"\xff\"}", 400, 3, "line 1 column");
    check("POST", DATASETS, b"{\"datasetId\": \"a\"", 400, 3, "EOF");
    check("POST", DATASETS, b"[1]", 400, 3, "line 1");
    check("POST", DATASETS, b"{\"datasetId\": {}}", 400, 3, "line 1");
    check("POST", DATASETS, b"{} x", 400, 3, "trailing");
    check("POST", JOBS, br#"{"epochs": 99999999999}"#, 400, 3, "line 1 column");
    let deep = format!("{{\"nothing\": {}", "[".repeat(100_000));
    check("POST", JOBS, deep.as_bytes(), 400, 3, "line 1 column");
    let closed = format!("{deep}{}}}", "]".repeat(100_000));
    check("POST", JOBS, closed.as_bytes(), 400, 3, "recursion limit");
    check(
        "POST",
        DATASETS,
        br#"{"datasetId": "a", "dataset": {"format": "CHATS"}}"#,
        400,
        3,
        "dataset.format",
    );
    let large = format!("{{\"displayName\": \"{}\"}}", "x".repeat(5 << 20));
    check("POST", JOBS, large.as_bytes(), 413, 3, "larger than 4194304 bytes");
    check("GET", "/v1/accounts/default/nothing", b"", 404, 5, "no such path");
    check("GET", "/", b"", 404, 5, "no such path");
    check("GET", "/v1/accounts/default/datasets/x/../y", b"", 404, 5, "");
    check("GET", "/v1/accounts/default/datasets/..%2Fx", b"", 400, 3, "name");
    check("GET", "/v1/accounts/default/datasets/%ff", b"", 404, 5, "no such path");
    check("DELETE", "/v1/accounts/default/models/x%00", b"", 400, 3, "name");
    let wrong = server.send("PUT", DATASETS, b"{}");
    assert_eq!((wrong.error().0, wrong.error().1), (405, 12));
    assert_eq!(wrong.headers["allow"], "GET, POST");
    assert_eq!(server.get(DATASETS).ok()["totalSize"], 0);
}

#[test]
fn a_long_line_and_a_wrong_encoding_are_found() {
    let server = Server::start();
    server.post(DATASETS, &json!({"datasetId": "rows"})).ok();
    let mut long = rows().into_bytes();
    long.extend_from_slice(format!("{{\"messages\": \"{}\"}}\n", "x".repeat(100 << 20)).as_bytes());
    let (status, code, message) =
        server.upload(&format!("{DATASETS}/rows:upload"), "rows.jsonl", &long).error();
    assert!((status, code) == (400, 3) && message.contains("rows.jsonl:6: the line is longer"), "{message}");
    let mut wrong = rows().into_bytes();
    wrong.extend_from_slice(b"{\"messages\": \"\xc3\x28\"}\n");
    let (status, code, message) =
        server.upload(&format!("{DATASETS}/rows:upload"), "rows.jsonl", &wrong).error();
    assert!((status, code) == (400, 3) && message.contains("rows.jsonl:6: invalid UTF-8"), "{message}");
    let dataset = server.get(&format!("{DATASETS}/rows")).ok();
    assert_eq!(
        (&dataset["state"], &dataset["status"]["code"]),
        (&json!("UPLOADING"), &json!("INVALID_ARGUMENT"))
    );
}

/// What a user sends is repeated to that user, but never by another error than the one about it.
#[test]
fn errors_have_one_form() {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    for reply in [
        server.send_as(None, "GET", DATASETS, b""),
        server.get("/nothing"),
        server.send("POST", JOBS, b"{"),
        server.post(JOBS, &json!({"dataset": "none", "baseModel": "tiny"})),
        server.send("PATCH", JOBS, b"{}"),
    ] {
        let body = reply.json();
        let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["code", "message", "details"], "{body}");
        assert!(body["details"].is_array());
        assert_eq!(reply.headers["content-type"], "application/json");
        assert_eq!(reply.headers["x-request-id"].len(), 16);
    }
}
