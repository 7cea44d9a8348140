//! `POST /v1/accounts/{account}:suspend` and `:unsuspend`.

use serde_json::{Value, json};

use crate::supervised_fine_tuning_job::{JOBS, create, server};

fn state(server: &crate::server::Server, id: &str) -> String {
    server.get(&format!("{JOBS}/{id}")).ok()["state"].as_str().unwrap().to_owned()
}

#[test]
fn jobs_rest_while_their_account_is_suspended_and_then_go_on() {
    let server = server();
    for id in ["waits", "paused", "paused-later", "cancelled"] {
        create(&server, id);
    }
    server.post(&format!("{JOBS}/paused:pause"), &json!({})).ok();
    server.post(&format!("{JOBS}/cancelled:cancel"), &json!({})).ok();
    let account =
        server.post("/v1/accounts/default:suspend", &json!({"suspendState": "FAILED_PAYMENTS"})).ok();
    assert_eq!((&account["suspendState"], &account["state"]), (&json!("FAILED_PAYMENTS"), &json!("READY")));
    assert_eq!(server.get("/v1/accounts/default").ok()["suspendState"], "FAILED_PAYMENTS");
    let listed = server.get("/v1/accounts?filter=suspendState%20%3D%20FAILED_PAYMENTS").ok();
    assert_eq!(listed["totalSize"], 1);

    let stopped = server.get(&format!("{JOBS}/waits")).ok();
    assert_eq!(stopped["state"], "JOB_STATE_PAUSED");
    assert_eq!(stopped["status"]["code"], "FAILED_PRECONDITION");
    let message = stopped["status"]["message"].as_str().unwrap();
    assert!(message.contains("account default is suspended"), "{message}");
    assert_eq!(state(&server, "cancelled"), "JOB_STATE_CANCELLED");

    // What its user does not want to go on rests afterwards too.
    server.post(&format!("{JOBS}/paused-later:pause"), &json!({})).ok();
    let refused = |reply: crate::server::Reply| {
        let (status, code, message) = reply.error();
        assert_eq!((status, code), (400, 9), "{message}");
        assert!(message.contains("accounts/default is suspended"), "{message}");
    };
    refused(server.post(&format!("{JOBS}/waits:resume"), &json!({})));
    refused(server.post(&format!("{JOBS}/cancelled:resume"), &json!({})));
    refused(server.post(JOBS, &json!({"dataset": "rows", "baseModel": "tiny"})));
    let batch = json!({"model": "accounts/fireworks/models/tiny", "inputDatasetId": "rows"});
    refused(server.post("/v1/accounts/default/batchInferenceJobs", &batch));

    let lifted = server.post("/v1/accounts/default:unsuspend", &json!({})).ok();
    assert_eq!(lifted["suspendState"], "UNSUSPENDED");
    let states = ["waits", "paused", "paused-later", "cancelled"].map(|id| state(&server, id));
    assert_eq!(states, ["JOB_STATE_PENDING", "JOB_STATE_PAUSED", "JOB_STATE_PAUSED", "JOB_STATE_CANCELLED"]);
    assert_eq!(server.get(&format!("{JOBS}/waits")).ok()["status"], json!({"code": "OK", "message": ""}));
}

#[test]
fn a_suspended_account_does_not_chat() {
    let server = server();
    let key = server.account("acme");
    let chat = || {
        let body = json!({"model": "accounts/fireworks/models/absent", "messages": [{"role": "user", "content": "x"}]});
        let reply = server.send_as(Some(&key), "POST", "/v1/chat/completions", body.to_string().as_bytes());
        let error: Value = reply.json()["error"].clone();
        (reply.status, error["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(chat().0, 404);
    server.post("/v1/accounts/acme:suspend", &json!({})).ok();
    // Twice is once.
    let again = server.post("/v1/accounts/acme:suspend", &json!({})).ok();
    assert_eq!(again["suspendState"], "BLOCKED_BY_ABUSE_RULE");
    assert_eq!(chat(), (412, "account_suspended".to_owned()));
    // It still reads, to see why.
    let own = server.send_as(Some(&key), "GET", "/v1/accounts/acme", b"").ok();
    assert_eq!(own["suspendState"], "BLOCKED_BY_ABUSE_RULE");
    server.post("/v1/accounts/acme:unsuspend", &json!({})).ok();
    assert_eq!(chat().0, 404);
}

#[test]
fn the_shared_models_are_not_suspended() {
    let server = server();
    let (status, code, message) = server.post("/v1/accounts/fireworks:suspend", &json!({})).error();
    assert_eq!((status, code), (400, 9), "{message}");
    assert_eq!(server.post("/v1/accounts/nobody:suspend", &json!({})).error().1, 5);
    let unknown = server.post("/v1/accounts/default:suspend", &json!({"suspendState": "TIRED"}));
    assert_eq!(unknown.error().1, 3);
}
