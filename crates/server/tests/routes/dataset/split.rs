//! `POST .../datasets/{dataset}:splitDataset`.

use serde_json::{Value, json};

use super::upload_files;
use crate::server::{Reply, Server};
use crate::snapshot;

const DATASETS: &str = "/v1/accounts/default/datasets";

fn server() -> Server {
    let server = Server::start();
    let row = |i: usize| format!("{{\"prompt\": \"p{i}\", \"completion\": \"c\"}}");
    let first: String = (0..4).map(|i| format!("{}\n\n", row(i))).collect();
    let second = (4..7).map(row).collect::<Vec<_>>().join("\r\n");
    upload_files(&server, "rows", &[("a.jsonl", first.as_bytes()), ("b.jsonl", second.as_bytes())]);
    server.post(&format!("{DATASETS}/rows:validateUpload"), &json!({})).ok();
    server
}

fn split(server: &Server, body: Value) -> Reply {
    server.post(&format!("{DATASETS}/rows:splitDataset"), &body)
}

/// What the prompts of a dataset say.
fn prompts(server: &Server, name: &str) -> Vec<String> {
    let page = server.get(&format!("/v1/{name}:preview")).ok();
    let examples = page["examples"].as_array().unwrap();
    let prompt = |example: &Value| {
        let row: Value = serde_json::from_str(example["content"].as_str().unwrap()).unwrap();
        row["prompt"].as_str().unwrap().to_owned()
    };
    examples.iter().map(prompt).collect()
}

/// Ids of all datasets, and what lies in the directories of the objects.
fn all(server: &Server) -> (Vec<String>, Vec<String>) {
    let list = server.get(DATASETS).ok();
    let name = |item: &Value| item["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let ids = list["datasets"].as_array().unwrap().iter().map(name).collect();
    let dirs = std::fs::read_dir(server.dir.path().join("objects/datasets/default")).unwrap();
    let mut dirs: Vec<_> = dirs.map(|dir| dir.unwrap().file_name().into_string().unwrap()).collect();
    dirs.sort();
    (ids, dirs)
}

#[test]
fn every_row_is_in_one_part_and_in_order() {
    let server = server();
    let reply = split(&server, json!({"chunkSize": 3}));
    snapshot!(reply);
    let names = reply.json()["chunkDatasetNames"].as_array().unwrap().clone();
    let parts: Vec<Vec<String>> = names.iter().map(|name| prompts(&server, name.as_str().unwrap())).collect();
    assert_eq!(parts, [vec!["p0", "p1", "p2"], vec!["p3", "p4", "p5"], vec!["p6"]]);
    snapshot!(server.get(&format!("{DATASETS}/rows-chunk-3")));
    // One part may hold all.
    server.account("acme");
    let body = json!({"chunkSize": 1_000_000, "parent": "accounts/acme"});
    assert_eq!(
        split(&server, body).ok()["chunkDatasetNames"],
        json!(["accounts/acme/datasets/rows-chunk-1"])
    );
    let server = Server::start_in(server.stop());
    assert_eq!(prompts(&server, "accounts/default/datasets/rows-chunk-2"), ["p3", "p4", "p5"]);
}

#[test]
fn a_clash_leaves_no_part() {
    let server = server();
    server.post(DATASETS, &json!({"datasetId": "rows-chunk-3"})).ok();
    let before = all(&server);
    let (status, code, message) = split(&server, json!({"chunkSize": 2})).error();
    assert_eq!((status, code), (409, 6), "{message}");
    assert!(message.contains("rows-chunk-3"), "{message}");
    assert_eq!(all(&server), before);
    // Parts that do not reach the taken name are made.
    assert_eq!(split(&server, json!({"chunkSize": 4})).ok()["chunksCreated"], 2);
}

#[test]
fn splits_at_the_same_time_make_one_set_of_parts() {
    let server = server();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let calls: Vec<_> =
            (0..4).map(|_| scope.spawn(|| split(&server, json!({"chunkSize": 2})).status)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    let parts: Vec<String> = (1..=4)
        .flat_map(|part| prompts(&server, &format!("accounts/default/datasets/rows-chunk-{part}")))
        .collect();
    assert_eq!(parts, ["p0", "p1", "p2", "p3", "p4", "p5", "p6"]);
}

#[test]
fn wrong_requests_are_refused() {
    let server = server();
    let key = server.account("acme");
    let check = |body: Value, expect: (u16, i64), part: &str| {
        let (status, code, message) = split(&server, body.clone()).error();
        assert_eq!((status, code), expect, "{body}: {message}");
        assert!(message.contains(part), "{message}");
    };
    check(json!({}), (400, 3), "chunkSize");
    check(json!({"chunkSize": -1}), (400, 3), "chunkSize");
    check(json!({"chunkSize": 1, "parent": "acme"}), (400, 3), "parent");
    // Neither from nor into an account of others.
    let body = json!({"chunkSize": 3, "parent": "accounts/acme"}).to_string();
    let foreign =
        server.send_as(Some(&key), "POST", &format!("{DATASETS}/rows:splitDataset"), body.as_bytes());
    assert_eq!(foreign.error().1, 7);
    server.post(DATASETS, &json!({"datasetId": "empty"})).ok();
    let empty = server.post(&format!("{DATASETS}/empty:splitDataset"), &json!({"chunkSize": 3}));
    assert_eq!(empty.error().1, 9);
    let long = "x".repeat(60);
    server.ready_dataset(&long);
    let too_long = server.post(&format!("{DATASETS}/{long}:splitDataset"), &json!({"chunkSize": 3}));
    let (_, code, message) = too_long.error();
    assert!(code == 9 && message.contains("shorter id"), "{message}");
    // Too many parts.
    let rows: String = "{\"prompt\": \"p\", \"completion\": \"c\"}\n".repeat(501);
    upload_files(&server, "many", &[("a.jsonl", rows.as_bytes())]);
    server.post(&format!("{DATASETS}/many:validateUpload"), &json!({})).ok();
    let many = |size: u32| server.post(&format!("{DATASETS}/many:splitDataset"), &json!({"chunkSize": size}));
    let (_, code, message) = many(1).error();
    assert!(code == 3 && message.contains("give 2 or more"), "{message}");
    assert_eq!(many(2).ok()["chunksCreated"], 251);
}
