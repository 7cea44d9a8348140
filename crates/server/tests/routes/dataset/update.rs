//! `PATCH /v1/accounts/{account}/datasets/{dataset}`.

use serde_json::{Value, json};

use crate::server::Server;
use crate::snapshot;

const ROWS: &str = "/v1/accounts/default/datasets/rows";

fn patch(server: &Server, query: &str, body: &Value) -> crate::server::Reply {
    server.send("PATCH", &format!("{ROWS}{query}"), body.to_string().as_bytes())
}

#[test]
fn what_describes_a_dataset_can_change() {
    let server = Server::start();
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "rows"})).ok();
    let job = "accounts/default/batchInferenceJobs/j";
    let body = json!({"displayName": "Rows", "exampleCount": "7", "format": "CHAT", "sourceJobName": job, "userUploaded": {}});
    snapshot!(patch(&server, "", &body));
    assert_eq!(patch(&server, "", &json!({"exampleCount": 9})).ok()["displayName"], "Rows");
    let masked = json!({"displayName": "no", "exampleCount": 8});
    let changed = patch(&server, "?updateMask=exampleCount,sourceJobName", &masked).ok();
    assert_eq!(
        (&changed["displayName"], &changed["exampleCount"], &changed["sourceJobName"]),
        (&json!("Rows"), &json!("8"), &json!(""))
    );
    assert_eq!(patch(&server, "?updateMask=displayName", &json!({})).ok()["displayName"], "");
    patch(&server, "", &json!({"displayName": "Again"})).ok();
    // Sent empty, it is emptied; what cannot change may be sent empty.
    let emptied =
        patch(&server, "", &json!({"displayName": "", "externalUrl": "", "exampleCount": null})).ok();
    assert_eq!((&emptied["displayName"], &emptied["exampleCount"]), (&json!(""), &json!("8")));
    // Nothing asked for, nothing changed.
    let before = server.get(ROWS).ok();
    assert_eq!(patch(&server, "", &json!({"name": "accounts/x/datasets/y", "state": "READY"})).ok(), before);
    assert_eq!(server.get(ROWS).ok(), before);
}

#[test]
fn what_would_have_no_effect_is_refused_by_name() {
    let server = Server::start();
    server.ready_dataset("rows");
    let before = server.get(ROWS).ok();
    let check = |query: &str, body: Value, expect: (u16, i64), part: &str| {
        let (status, code, message) = patch(&server, query, &body).error();
        assert_eq!((status, code), expect, "{query} {body}: {message}");
        assert!(message.contains(part), "{message}");
    };
    check("", json!({"exampleCount": 4}), (400, 9), "exampleCount");
    check("", json!({"format": "COMPLETION"}), (400, 9), "format");
    check("", json!({"format": "RL"}), (501, 12), "format");
    check("", json!({"externalUrl": "s3://x/y"}), (501, 12), "dataset.externalUrl");
    check("", json!({"transformed": {"sourceDatasetId": "x"}}), (501, 12), "dataset.transformed");
    check("", json!({"splitted": {"sourceDatasetId": "x"}}), (501, 12), "dataset.splitted");
    check("", json!({"evaluationResult": {"evaluationJobId": "x"}}), (501, 12), "dataset.evaluationResult");
    check("", json!({"displayName": "x".repeat(64)}), (400, 3), "dataset.displayName");
    check("", json!({"sourceJobName": "x"}), (400, 3), "dataset.sourceJobName");
    check("?updateMask=externalUrl", json!({}), (501, 12), "externalUrl");
    check("?updateMask=state", json!({}), (400, 3), "state");
    check("?updateMask=nothing", json!({}), (400, 3), "nothing");
    // What is so already may be said.
    patch(&server, "", &json!({"exampleCount": 5, "format": "CHAT"})).ok();
    assert_eq!(server.get(ROWS).ok(), before);
    let (status, code, _) = server.send("PATCH", "/v1/accounts/default/datasets/gone", b"{}").error();
    assert_eq!((status, code), (404, 5));
}
