//! `POST .../models/{model}:prepare`.

use serde_json::json;

use crate::server::{Server, install_model};
use crate::tiny;

#[test]
fn a_model_is_loaded_as_it_is_stored() {
    let server = Server::start();
    // Its only file is a configuration that says nothing: loading shows it.
    install_model(server.dir.path(), "default", "hollow", None);
    let prepare = |id: &str, body: serde_json::Value| {
        server.post(&format!("/v1/accounts/default/models/{id}:prepare"), &body)
    };
    assert_eq!(prepare("hollow", json!({})).status, 500);
    install_model(server.dir.path(), "default", "orphan", Some("gone"));
    let (_, code, message) = prepare("orphan", json!({})).error();
    assert!(code == 9 && message.contains("is not installed"), "{message}");
    assert_eq!(prepare("none", json!({})).status, 404);
    server
        .post("/v1/accounts/default/models", &json!({"modelId": "up", "model": {"kind": "HF_BASE_MODEL"}}))
        .ok();
    assert_eq!(prepare("up", json!({})).error().1, 9);

    install_model(server.dir.path(), "default", "tiny", None);
    tiny::write_base(&server.dir.path().join("models/default/tiny"), 1);
    assert_eq!(prepare("tiny", json!({"precision": "PRECISION_UNSPECIFIED"})).ok(), json!({}));
    let (status, _, message) = prepare("tiny", json!({"precision": "FP8"})).error();
    assert!(status == 501 && message.contains("FP8"), "{message}");
}
