//! `POST /v1/accounts/{account}/deployments/{deployment}:undelete`.

use serde_json::json;

use super::{BASE, PATH, ask, deployed, ready, server};

#[test]
fn a_deleted_deployment_comes_back() {
    let server = server();
    deployed(&server, "mine", BASE);
    let path = format!("{PATH}/mine:undelete");
    let (status, code, message) = server.post(&path, &json!({})).error();
    assert!((status, code) == (400, 9) && message.contains("is not deleted"), "{message}");
    server.delete(&format!("{PATH}/mine")).ok();
    let back = server.post(&path, &json!({})).ok();
    assert_eq!((&back["state"], &back["desiredReplicaCount"]), (&json!("UPDATING"), &json!(1)));
    assert_eq!((&back["deleteTime"], &back["purgeTime"]), (&json!(null), &json!(null)));
    ready(&server, "mine");
    assert_eq!(ask(&server, "accounts/default/deployments/mine").0, 200);
    assert_eq!(server.post(&format!("{PATH}/other:undelete"), &json!({})).status, 404);
}
