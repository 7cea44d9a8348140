//! `DELETE /v1/accounts/{account}/deployments/{deployment}`.

use serde_json::json;

use super::{BASE, PATH, TUNED, ask, create, deployed, server};

#[test]
fn hard_is_for_good_and_traffic_protects() {
    let server = server();
    deployed(&server, "mine", BASE);
    let name = "accounts/default/deployments/mine";
    assert_eq!(ask(&server, name).0, 200);
    let path = format!("{PATH}/mine");
    let (status, code, message) = server.delete(&path).error();
    assert!((status, code) == (400, 9) && message.contains("ignoreChecks"), "{message}");
    // A restart does not forget it.
    let server = crate::server::Server::start_in(server.stop());
    assert_eq!(server.delete(&path).error().1, 9);
    server.delete(&format!("{path}?ignoreChecks=true")).ok();
    let gone = server.get(&path).ok();
    assert_eq!((&gone["state"], &gone["desiredReplicaCount"]), (&json!("DELETED"), &json!(0)));
    assert_eq!(ask(&server, name), (404, "model_not_found".to_owned()));
    assert_eq!(server.send("PATCH", &format!("{path}:scale"), br#"{"replicaCount": 1}"#).error().1, 9);
    assert_eq!(server.delete(&path).error().1, 9);
    server.delete(&format!("{path}?hard=true")).ok();
    assert_eq!(server.get(&path).status, 404);
    assert_eq!(server.delete(&format!("{path}?hard=true")).error().1, 5);
}

#[test]
fn one_that_was_deleted_makes_way_and_takes_its_adapters_along() {
    let server = server();
    deployed(&server, "mine", BASE);
    let loading = json!({"model": TUNED, "deployment": "accounts/default/deployments/mine"});
    let loaded = server.post("/v1/accounts/default/deployedModels", &loading).ok();
    let path = format!("{PATH}/mine");
    let (status, code, message) = server.delete(&path).error();
    assert!((status, code) == (400, 9) && message.contains("is loaded on"), "{message}");
    server.delete(&format!("{path}?ignoreChecks=true")).ok();
    assert_eq!(server.get(&format!("/v1/{}", loaded["name"].as_str().unwrap())).status, 404);
    let again = create(&server, "mine", &json!({"baseModel": TUNED})).ok();
    assert_eq!((&again["state"], &again["baseModel"]), (&json!("CREATING"), &json!(TUNED)));
    // A model that is deployed stays.
    let (status, code, message) = server.delete(&format!("/v1/{TUNED}")).error();
    assert!((status, code) == (400, 9) && message.contains("is deployed"), "{message}");
    let (status, code, _) = server.delete(&format!("/v1/{BASE}")).error();
    assert_eq!((status, code), (400, 9));
}
