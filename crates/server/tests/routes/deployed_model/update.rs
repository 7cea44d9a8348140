//! `PATCH /v1/accounts/{account}/deployedModels/{deployed_model}`.

use serde_json::{Value, json};

use super::{PATH, load, path_of};
use crate::deployment::{BASE, TUNED, deployed, server};

#[test]
fn texts_and_the_default_change() {
    let server = server();
    deployed(&server, "mine", BASE);
    let first = load(&server, TUNED, "mine").ok();
    let second = load(&server, TUNED, "").ok();
    assert_eq!((&first["default"], &second["default"]), (&json!(true), &json!(false)));
    let update = |path: &str, body: Value| server.send("PATCH", path, body.to_string().as_bytes());
    let path = path_of(&second);
    let shown = update(&path, json!({"displayName": "New", "description": "d", "default": true})).ok();
    assert_eq!((&shown["displayName"], &shown["description"]), (&json!("New"), &json!("d")));
    assert_eq!(shown["default"], true);
    assert_eq!(server.get(&path_of(&first)).ok()["default"], false, "a model has one default");
    // What was read may be sent back.
    update(&path, shown).ok();
    for (body, status, code, part) in [
        (json!({"default": false}), 400, 9, "another one the default"),
        (json!({"model": BASE}), 400, 9, "stays the same"),
        (json!({"deployment": "accounts/default/deployments/mine"}), 400, 9, "stays the same"),
        (json!({"public": true}), 501, 12, "public"),
        (json!({"displayName": "x".repeat(64)}), 400, 3, "63"),
    ] {
        let (found, found_code, message) = update(&path, body.clone()).error();
        assert!((found, found_code) == (status, code) && message.contains(part), "{body}: {found} {message}");
    }
    assert_eq!(update(&format!("{PATH}/tuned"), json!({"displayName": "x"})).error().1, 9);
    assert_eq!(update(&format!("{PATH}/nothing"), json!({"displayName": "x"})).error().1, 5);
}
