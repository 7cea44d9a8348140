//! The model list.

use serde_json::json;

use super::{BASE, FOREIGN, TUNED, server};

#[test]
fn the_list_has_the_catalogue_and_the_callers_models() {
    let server = server();
    let entry = |id: &str, owner: &str, kind: &str| {
        json!({
            "id": id, "object": "model", "created": 1_700_000_000, "owned_by": owner, "kind": kind,
            "supports_chat": true, "supports_image_input": false, "supports_tools": false,
            "context_length": 512,
        })
    };
    let base = entry(BASE, "fireworks", "HF_BASE_MODEL");
    let own = json!({"object": "list", "data": [base, entry(TUNED, "default", "HF_PEFT_ADDON")]});
    assert_eq!(server.get("/v1/models").ok(), own);
    assert_eq!(server.get("/inference/v1/models").ok(), own);
    let key = server.account("other");
    let theirs = json!({"object": "list", "data": [base, entry(FOREIGN, "other", "HF_PEFT_ADDON")]});
    assert_eq!(server.send_as(Some(&key), "GET", "/v1/models", b"").ok(), theirs);
    assert_eq!(server.send_as(None, "GET", "/v1/models", b"").status, 401);
}
