//! `PATCH /v1/accounts/{account}/deployments/{deployment}:scale`.

use serde_json::json;

use super::{BASE, PATH, ask, deployed, ready, server};

#[test]
fn zero_frees_and_one_or_a_request_loads() {
    let server = server();
    deployed(&server, "mine", BASE);
    let scale = |replicas: i32| {
        server.send(
            "PATCH",
            &format!("{PATH}/mine:scale"),
            json!({"replicaCount": replicas}).to_string().as_bytes(),
        )
    };
    assert_eq!(scale(0).ok(), json!({}));
    let down = server.get(&format!("{PATH}/mine")).ok();
    assert_eq!((&down["state"], &down["replicaCount"]), (&json!("READY"), &json!(0)));
    assert_eq!(down["replicaStats"]["readyReplicaCount"], 0);
    scale(1).ok();
    ready(&server, "mine");
    scale(0).ok();
    let name = "accounts/default/deployments/mine";
    assert_eq!(ask(&server, name), (503, "DEPLOYMENT_SCALING_UP".to_owned()));
    ready(&server, "mine");
    assert_eq!(ask(&server, name).0, 200);
    for (replicas, part) in [(2, "one machine"), (-1, "below 0")] {
        let (status, code, message) = scale(replicas).error();
        assert!((status, code) == (400, 3) && message.contains(part), "{message}");
    }
    server.send("PATCH", &format!("{PATH}/mine"), br#"{"minReplicaCount": 1}"#).ok();
    let (status, code, message) = scale(0).error();
    assert!((status, code) == (400, 9) && message.contains("minReplicaCount"), "{message}");
    let (status, code, _) =
        server.send("PATCH", &format!("{PATH}/other:scale"), br#"{"replicaCount": 1}"#).error();
    assert_eq!((status, code), (404, 5));
}
