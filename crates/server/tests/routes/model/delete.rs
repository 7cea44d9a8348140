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
    let (status, code, message) = server.delete("/v1/accounts/fireworks/models/tiny").error();
    assert!((status, code) == (400, 9) && message.contains("is the base of"), "{message}");
    server.delete(&format!("/v1/{}", job["name"].as_str().unwrap())).ok();
}
