//! `PATCH /v1/accounts/{account}/models/{model}`.

use serde_json::json;

use crate::server::{Server, install_model};

const MODEL: &str = "/v1/accounts/default/models/mine";

#[test]
fn texts_change_and_nothing_else() {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    install_model(server.dir.path(), "default", "mine", Some("tiny"));
    let patch = |path: &str, body: serde_json::Value| server.send("PATCH", path, body.to_string().as_bytes());
    let changed =
        patch(MODEL, json!({"displayName": "New", "description": "text", "githubUrl": "https://x"})).ok();
    assert_eq!((&changed["displayName"], &changed["description"]), (&json!("New"), &json!("text")));
    // Sent back as it was read: nothing changes.
    assert_eq!(patch(MODEL, changed.clone()).ok(), changed);
    // A mask empties what is not sent, and hides what is.
    let masked = patch(&format!("{MODEL}?updateMask=description"), json!({"displayName": "No"})).ok();
    assert_eq!((&masked["displayName"], &masked["description"]), (&json!("New"), &json!("")));
    // What is sent empty is emptied; null is not sent, and what cannot change may be sent empty.
    let body =
        json!({"githubUrl": "", "displayName": null, "description": "", "public": false, "kind": null});
    let emptied = patch(MODEL, body).ok();
    assert_eq!((&emptied["displayName"], &emptied["githubUrl"]), (&json!("New"), &json!("")));
    patch(MODEL, json!({"model": {"displayName": "", "githubUrl": "https://x"}})).ok();
    let emptied = server.get(MODEL).ok();
    assert_eq!((&emptied["displayName"], &emptied["githubUrl"]), (&json!(""), &json!("https://x")));
    patch(MODEL, json!({"display_name": "New"})).ok();
    for (body, field) in [
        (json!({"public": true}), "model.public"),
        (json!({"contextLength": 64}), "model.contextLength"),
        (json!({"conversationConfig": {"template": "x"}}), "model.conversationConfig"),
        (json!({"kind": "HF_BASE_MODEL"}), "model.kind"),
        (json!({"supportsTools": true}), "model.supportsTools"),
    ] {
        let (status, code, message) = patch(MODEL, body).error();
        assert!((status, code) == (501, 12) && message.contains(field), "{message}");
    }
    assert_eq!(patch(MODEL, json!({"displayName": "x".repeat(64)})).error().1, 3);
    assert_eq!(patch(&format!("{MODEL}?updateMask=nonsense"), json!({})).error().1, 3);
    assert_eq!(patch("/v1/accounts/default/models/none", json!({"displayName": "x"})).status, 404);
    // Kept over a restart, when the directories are read again.
    let server = Server::start_in(server.stop());
    assert_eq!(server.get(MODEL).ok()["displayName"], "New");
    let found = server.get("/v1/accounts/default/models?filter=github_url%3D%22https%3A%2F%2Fx%22").ok();
    assert_eq!(found["totalSize"], 1);
}
