//! `POST /v1/accounts/{account}/datasets` with `sourceDatasetId`.

use serde_json::{Value, json};

use crate::server::{Server, rows};
use crate::snapshot;

const PATH: &str = "/v1/accounts/default/datasets";

fn copy(server: &Server, more: Value) -> crate::server::Reply {
    let mut body = json!({"datasetId": "copy", "sourceDatasetId": "rows"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post(PATH, &body)
}

fn content(server: &Server, dataset: &str) -> Vec<u8> {
    let urls = server.get(&format!("{PATH}/{dataset}:getDownloadEndpoint")).ok();
    let url = urls["filenameToSignedUrls"]["rows.jsonl"].as_str().unwrap().to_owned();
    server.request(&[], "GET", &url, b"").body
}

#[test]
fn a_copy_is_ready_and_lives_by_itself() {
    let server = Server::start();
    server.ready_dataset("rows");
    snapshot!(copy(&server, json!({"dataset": {"displayName": "Copy", "userUploaded": {}}})));
    assert_eq!(copy(&server, json!({})).error().1, 6);
    server.delete(&format!("{PATH}/rows")).ok();
    assert_eq!(content(&server, "copy"), rows().into_bytes());
    // And so after a restart, with nothing left in between.
    let server = Server::start_in(server.stop());
    assert_eq!(content(&server, "copy"), rows().into_bytes());
    assert!(!server.dir.path().join("objects/staging").exists());
    // The copy of a copy names what it was made of.
    let full = json!({"datasetId": "third", "sourceDatasetId": "accounts/default/datasets/copy"});
    let third = server.post(PATH, &full).ok();
    assert_eq!(third["transformed"]["sourceDatasetId"], "accounts/default/datasets/copy");
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let server = Server::start();
    server.ready_dataset("rows");
    server.post(PATH, &json!({"datasetId": "empty"})).ok();
    let check = |more: Value, expect: (u16, i64), part: &str| {
        let (status, code, message) = copy(&server, more.clone()).error();
        assert_eq!((status, code), expect, "{more}: {message}");
        assert!(message.contains(part), "{message}");
    };
    check(json!({"sourceDatasetId": "empty"}), (400, 9), "not READY");
    check(json!({"sourceDatasetId": "gone"}), (404, 5), "gone");
    check(json!({"sourceDatasetId": "../x"}), (400, 3), "sourceDatasetId");
    check(json!({"filter": "x = 1"}), (501, 12), "filter");
    check(json!({"dataset": {"exampleCount": 6}}), (400, 3), "exampleCount");
    check(json!({"dataset": {"format": "COMPLETION"}}), (400, 3), "format");
    assert_eq!(copy(&server, json!({"dataset": {"exampleCount": 5, "format": "CHAT"}})).status, 200);
    // The rows of another account stay there.
    let key = server.account("acme");
    let body = json!({"datasetId": "theft", "sourceDatasetId": "accounts/default/datasets/rows"});
    let path = "/v1/accounts/acme/datasets";
    let theft = server.send_as(Some(&key), "POST", path, body.to_string().as_bytes());
    assert_eq!(theft.error().1, 7);
}
