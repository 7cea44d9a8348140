//! Datasets whose rows lie elsewhere.

use serde_json::json;

use crate::server::{Reply, Server, install_model};

const PATH: &str = "/v1/accounts/default/datasets";
const URL: &str = "s3://bucket/rows.jsonl";

fn server() -> Server {
    let server = Server::start();
    let made = server.post(PATH, &json!({"datasetId": "far", "dataset": {"externalUrl": URL}})).ok();
    assert_eq!((&made["state"], &made["externalUrl"]), (&json!("READY"), &json!(URL)));
    server
}

#[test]
fn it_is_ready_without_an_upload_and_listed() {
    let server = server();
    assert_eq!(server.get(&format!("{PATH}/far")).ok()["externalUrl"], URL);
    server.ready_dataset("here");
    let found = server.get(&format!("{PATH}?filter=external_url%20%3D%20%22{URL}%22")).ok();
    assert_eq!(
        (&found["totalSize"], &found["datasets"][0]["name"]),
        (&json!(1), &json!("accounts/default/datasets/far"))
    );
    server.delete(&format!("{PATH}/far")).ok();
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let server = Server::start();
    let check = |url: &str, expect: (u16, i64), part: &str| {
        let body = json!({"datasetId": "x", "dataset": {"externalUrl": url}});
        let (status, code, message) = server.post(PATH, &body).error();
        assert_eq!((status, code), expect, "{url}: {message}");
        assert!(message.contains("dataset.externalUrl") && message.contains(part), "{message}");
    };
    check("gs://bucket/rows.jsonl", (501, 12), "gs://");
    check("az://rows/x.jsonl", (501, 12), "which account");
    check("http://169.254.169.254/rows.jsonl", (501, 12), "any web server");
    check("s3://Bucket/rows.jsonl", (400, 3), "name of the bucket");
    check("s3://bucket/rows.csv", (400, 3), ".jsonl");
    check("https://acme1.blob.core.windows.net/rows/x.jsonl?sig=hush", (400, 3), "belongs into a secret");
    server.ready_dataset("here");
    let body = json!({"datasetId": "x", "sourceDatasetId": "here", "dataset": {"externalUrl": URL}});
    assert_eq!(server.post(PATH, &body).error().1, 3);
}

#[test]
fn what_needs_the_rows_says_that_they_are_not_here() {
    let server = server();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    let far = format!("{PATH}/far");
    let check = |reply: Reply| {
        let (status, code, message) = reply.error();
        assert_eq!((status, code), (400, 9), "{message}");
        assert!(message.contains("externalUrl"), "{message}");
    };
    check(server.post(&format!("{far}:getUploadEndpoint"), &json!({"filenameToSize": {"a.jsonl": 1}})));
    check(server.upload(&format!("{far}:upload"), "a.jsonl", b"{}"));
    check(server.post(&format!("{far}:validateUpload"), &json!({})));
    check(server.get(&format!("{far}:getDownloadEndpoint")));
    check(server.get(&format!("{far}:preview")));
    check(server.post(&format!("{far}:renderPreview"), &json!({"baseModel": "tiny"})));
    check(server.post(&format!("{far}:splitDataset"), &json!({"chunkSize": 1})));
    check(server.post(PATH, &json!({"datasetId": "copy", "sourceDatasetId": "far"})));
    let checks = "/v1/accounts/default/datasetValidationJobs";
    check(server.post(checks, &json!({"datasetName": "far", "format": "DATASET_VALIDATION_FORMAT_CHAT"})));
    let batch = json!({"inputDatasetId": "far", "model": "accounts/fireworks/models/tiny"});
    check(server.post("/v1/accounts/default/batchInferenceJobs", &batch));
}
