//! `PATCH /v1/accounts/{account}/deployments/{deployment}`.

use serde_json::{Value, json};

use super::{BASE, PATH, TUNED, ask, deployed, ready, server};

#[test]
fn updates_change_what_they_name() {
    let server = server();
    deployed(&server, "mine", BASE);
    let update = |query: &str, body: Value| {
        server.send("PATCH", &format!("{PATH}/mine{query}"), body.to_string().as_bytes())
    };
    // As fireworks-ai 1.2 sends it: without a mask, the base model always.
    let shown = update("", json!({"baseModel": BASE, "displayName": "New", "description": "d"})).ok();
    assert_eq!((&shown["displayName"], &shown["description"]), (&json!("New"), &json!("d")));
    assert_eq!((&shown["state"], &shown["replicaCount"]), (&json!("READY"), &json!(1)));
    let shown = update("?updateMask=description", json!({"displayName": "Other"})).ok();
    assert_eq!((&shown["displayName"], &shown["description"]), (&json!("New"), &json!("")));
    // Windows that are not given stay.
    let policy = json!({"autoscalingPolicy": {"scaleToZeroWindow": "600s"}});
    let shown = update("", policy).ok();
    let windows = json!({"scaleUpWindow": "30s", "scaleDownWindow": "600s", "scaleToZeroWindow": "600s", "loadTargets": {}});
    assert_eq!(shown["autoscalingPolicy"], windows);
    // As fireworks-ai 0.19 sends it: all that it read, with a mask.
    let shown = update("?updateMask=autoscaling_policy,region", shown).ok();
    assert_eq!(shown["autoscalingPolicy"], windows);
    // Without room for a replica it does not answer, and is not woken.
    let shown = update("", json!({"maxReplicaCount": 0})).ok();
    assert_eq!((&shown["maxReplicaCount"], &shown["replicaCount"]), (&json!(0), &json!(0)));
    let name = "accounts/default/deployments/mine";
    assert_eq!(ask(&server, name), (404, "model_not_found".to_owned()));
    update("", json!({"minReplicaCount": 1, "maxReplicaCount": 1})).ok();
    ready(&server, "mine");
    assert_eq!(ask(&server, name).0, 200);
    for (query, body, status, code, part) in [
        ("", json!({"minReplicaCount": 1, "maxReplicaCount": 0}), 400, 3, "above maxReplicaCount"),
        ("", json!({"baseModel": TUNED}), 400, 9, "stays the same"),
        ("", json!({"region": "US_IOWA_1"}), 501, 12, "region"),
        ("?updateMask=precision", json!({"precision": "FP8"}), 501, 12, "precision"),
        ("?updateMask=nothing", json!({}), 400, 3, "has no field \"nothing\""),
        ("", json!({"description": "x".repeat(1000)}), 400, 3, "999"),
    ] {
        let (found, found_code, message) = update(query, body.clone()).error();
        assert!((found, found_code) == (status, code) && message.contains(part), "{body}: {found} {message}");
    }
    // Adapters have to leave first.
    let loaded =
        server.post("/v1/accounts/default/deployedModels", &json!({"model": TUNED, "deployment": name}));
    let loaded = loaded.ok();
    let (status, code, message) = update("", json!({"enableAddons": false})).error();
    assert!((status, code) == (400, 9) && message.contains("loaded on it"), "{message}");
    server.delete(&format!("/v1/{}", loaded["name"].as_str().unwrap())).ok();
    assert_eq!(update("", json!({"enableAddons": false})).ok()["enableAddons"], false);
}
