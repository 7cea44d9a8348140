//! `DELETE /v1/accounts/{account}/models/{model}`.

use serde_json::json;

use crate::server::{Server, install_model};

#[test]
fn the_directory_goes_and_a_used_base_stays() {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    install_model(server.dir.path(), "default", "mine", Some("tiny"));
    let dir = server.dir.path().join("models/default/mine");
    assert!(dir.exists());
    assert_eq!(server.delete("/v1/accounts/default/models/mine").ok(), json!({}));
    assert!(!dir.exists());
    assert_eq!(server.get("/v1/accounts/default/models/mine").status, 404);
    assert_eq!(server.delete("/v1/accounts/default/models/mine").status, 404);

    let acme = server.account("acme");
    let foreign = server.send_as(Some(&acme), "DELETE", "/v1/accounts/fireworks/models/tiny", b"");
    assert_eq!(foreign.error().1, 7);

    server.ready_dataset("rows");
    let job = json!({"dataset": "rows", "baseModel": "tiny"});
    let job = server.post("/v1/accounts/default/supervisedFineTuningJobs", &job).ok();
    let name = job["name"].as_str().unwrap();
    let base = || server.delete("/v1/accounts/fireworks/models/tiny");
    let stays = |reply: crate::server::Reply| {
        let (status, code, message) = reply.error();
        let part = format!("is needed by {name}, which is not at its end");
        assert!((status, code) == (400, 9) && message.contains(&part), "{status} {code} {message}");
    };
    stays(base());
    // It is to go on later.
    server.post(&format!("/v1/{name}:pause"), &json!({})).ok();
    stays(base());
    server.post(&format!("/v1/{name}:cancel"), &json!({})).ok();
    base().ok();
}
