//! `GET .../datasets/{dataset}:preview`.

use serde_json::{Value, json};

use super::upload_files;
use crate::server::{Server, rows};

const PATH: &str = "/v1/accounts/default/datasets/rows:preview";
/// As in the server's limits.
const PAGE_BYTES: usize = 2 << 20;

fn contents(page: &Value) -> Vec<String> {
    let examples = page["examples"].as_array().unwrap();
    examples.iter().map(|example| example["content"].as_str().unwrap().to_owned()).collect()
}

/// All pages of this size.
fn pages(server: &Server, size: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let page = server.get(&format!("{PATH}?pageSize={size}&pageToken={token}")).ok();
        assert_eq!(page["totalCount"], 8);
        pages.push(contents(&page));
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            return pages;
        }
    }
}

#[test]
fn pages_hold_the_rows_of_all_files_as_they_stand() {
    let server = Server::start();
    let row = |i: usize| format!("{{\"prompt\":  \"p{i}\", \"completion\": \"é\"}}");
    let first = format!("\u{feff}{}\r\n\n{}\n{}", row(0), row(1), row(2));
    let second: String = (3..8).map(|i| format!("{}\n", row(i))).collect();
    upload_files(&server, "rows", &[("b.jsonl", second.as_bytes()), ("a.jsonl", first.as_bytes())]);
    server.post("/v1/accounts/default/datasets/rows:validateUpload", &json!({})).ok();
    let all: Vec<String> = (0..8).map(row).collect();
    for size in [1, 3, 8, 200, 1_000_000] {
        let pages = pages(&server, size);
        assert_eq!(pages.concat(), all, "pages of {size}");
        assert_eq!(pages.len(), 8usize.div_ceil(size), "pages of {size}");
    }
}

#[test]
fn pages_are_bounded_and_no_row_is_cut() {
    let server = Server::start();
    let row = |size: usize| json!({"prompt": "x".repeat(size), "completion": "c"}).to_string();
    let (half, long) = (row(PAGE_BYTES / 2 - 100), row(PAGE_BYTES));
    let text = [row(1), half.clone(), half.clone(), half.clone(), long.clone(), row(2)].join("\n");
    upload_files(&server, "rows", &[("rows.jsonl", text.as_bytes())]);
    server.post("/v1/accounts/default/datasets/rows:validateUpload", &json!({})).ok();
    let first = server.get(PATH).ok();
    assert_eq!(contents(&first), [row(1), half.clone(), half.clone()]);
    let token = first["nextPageToken"].as_str().unwrap();
    let second = server.get(&format!("{PATH}?pageToken={token}")).ok();
    assert_eq!(contents(&second), [half, String::new(), row(2)]);
    assert_eq!(second["examples"][1]["omittedBytes"], long.len().to_string());
    assert_eq!(second["examples"][0]["omittedBytes"], "0");
    assert_eq!(second["nextPageToken"], "");
}

#[test]
fn other_questions_are_refused() {
    let server = Server::start();
    server.ready_dataset("rows");
    server.ready_dataset("more");
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "empty"})).ok();
    let page = server.get(&format!("{PATH}?pageSize=2")).ok();
    let token = page["nextPageToken"].as_str().unwrap();
    let check = |path: &str, expect: (u16, i64), part: &str| {
        let (status, code, message) = server.get(path).error();
        assert_eq!((status, code), expect, "{path}: {message}");
        assert!(message.contains(part), "{message}");
    };
    check(&format!("{PATH}?filter=x"), (501, 12), "filter");
    check(&format!("{PATH}?orderBy=x"), (501, 12), "orderBy");
    check(&format!("{PATH}?pageSize=-1"), (400, 3), "pageSize");
    check(&format!("{PATH}?pageToken=x"), (400, 3), "pageToken");
    check(&format!("/v1/accounts/default/datasets/more:preview?pageToken={token}"), (400, 3), "pageToken");
    check("/v1/accounts/default/datasets/empty:preview", (400, 9), "not READY");
    check("/v1/accounts/default/datasets/gone:preview", (404, 5), "gone");
    // A dataset of the same name is another one.
    server.delete("/v1/accounts/default/datasets/rows").ok();
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "rows"})).ok();
    server.upload("/v1/accounts/default/datasets/rows:upload", "rows.jsonl", rows().as_bytes()).ok();
    check(&format!("{PATH}?pageToken={token}"), (400, 3), "pageToken");
}
