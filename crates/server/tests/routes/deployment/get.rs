//! `GET /v1/accounts/{account}/deployments/{deployment}`.

use serde_json::json;

use super::{BASE, PATH, deployed, server};

#[test]
fn reads_a_deployment_or_says_that_there_is_none() {
    let server = server();
    deployed(&server, "mine", BASE);
    let part = server.get(&format!("{PATH}/mine?readMask=baseModel,state")).ok();
    assert_eq!(part, json!({"baseModel": BASE, "state": "READY"}));
    let (status, code, message) = server.get(&format!("{PATH}/other")).error();
    assert_eq!((status, code), (404, 5));
    assert_eq!(message, "deployment accounts/default/deployments/other does not exist");
    let local = server.get(&format!("{PATH}/local")).ok();
    assert_eq!(
        (&local["state"], &local["replicaCount"], &local["baseModel"]),
        (&json!("READY"), &json!(1), &json!(""))
    );
    // That of the shared models is there for everybody.
    let acme = server.account("acme");
    let shared = "/v1/accounts/fireworks/deployments/local";
    assert_eq!(server.send_as(Some(&acme), "GET", shared, b"").status, 200);
    // Nobody changes it.
    for (method, path, body) in [
        ("PATCH", format!("{PATH}/local"), r#"{"displayName": "x"}"#),
        ("PATCH", format!("{PATH}/local:scale"), r#"{"replicaCount": 0}"#),
        ("DELETE", format!("{PATH}/local?hard=true"), ""),
        ("POST", format!("{PATH}/local:undelete"), "{}"),
    ] {
        let (status, code, message) = server.send(method, &path, body.as_bytes()).error();
        assert!((status, code) == (400, 9) && message.contains("built in"), "{method} {path}: {message}");
    }
}
