//! `POST /v1/accounts/{account}/deployedModels`.

use serde_json::{Value, json};

use super::{PATH, load, path_of};
use crate::deployment::{BASE, TUNED, ask, create, deployed, server, until};

#[test]
fn an_adapter_is_loaded_and_answers_by_its_name() {
    let server = server();
    deployed(&server, "mine", BASE);
    let loaded = load(&server, TUNED, "mine").ok();
    until("DEPLOYED", || server.get(&path_of(&loaded)).ok()["state"] == "DEPLOYED");
    let shown = server.get(&path_of(&loaded)).ok();
    assert_eq!(shown["deployment"], "accounts/default/deployments/mine");
    assert_eq!((&shown["default"], &shown["serverless"]), (&json!(true), &json!(false)));
    assert_eq!((&shown["model"], &shown["displayName"]), (&json!(TUNED), &json!("x.py")));
    let name = shown["name"].as_str().unwrap();
    for name in [name, &format!("{TUNED}#accounts/default/deployments/mine"), TUNED] {
        assert_eq!(ask(&server, name), (200, String::new()), "{name}");
    }
    let (status, code, message) = load(&server, TUNED, "mine").error();
    assert!((status, code) == (409, 6) && message.contains(name), "{message}");
    // The model says where it is.
    let refs = server.get(&format!("/v1/{TUNED}")).ok()["deployedModelRefs"].clone();
    let at: Vec<(&Value, &Value)> =
        refs.as_array().unwrap().iter().map(|one| (&one["deployment"], &one["default"])).collect();
    let (local, mine) =
        (json!("accounts/default/deployments/local"), json!("accounts/default/deployments/mine"));
    assert_eq!(at, [(&local, &json!(false)), (&mine, &json!(true))]);
    // It goes and comes with its deployment.
    let scale = |replicas: i32| {
        let body = json!({"replicaCount": replicas}).to_string();
        server.send("PATCH", "/v1/accounts/default/deployments/mine:scale", body.as_bytes()).ok()
    };
    scale(0);
    let waiting = server.get(&path_of(&loaded)).ok();
    assert_eq!((&waiting["state"], &waiting["status"]["code"]), (&json!("DEPLOYING"), &json!("UNAVAILABLE")));
    assert_eq!(ask(&server, name), (503, "DEPLOYMENT_SCALING_UP".to_owned()));
    until("DEPLOYED", || server.get(&path_of(&loaded)).ok()["state"] == "DEPLOYED");
    assert_eq!(ask(&server, name).0, 200);
}

/// As fireworks-ai 0.19 does it for an adapter of a shared base.
#[test]
fn without_a_deployment_it_is_kept_over_its_own_base() {
    let server = server();
    let loaded = load(&server, TUNED, "").ok();
    assert_eq!((&loaded["state"], &loaded["serverless"]), (&json!("DEPLOYED"), &json!(true)));
    assert_eq!(loaded["deployment"], "accounts/default/deployments/local");
    assert!(loaded["name"].as_str().unwrap().starts_with("accounts/default/deployedModels/tuned-"));
    assert_eq!(ask(&server, loaded["name"].as_str().unwrap()).0, 200);
    // A restart loads it again.
    let server = crate::server::Server::start_in(server.stop());
    until("DEPLOYED", || server.get(&path_of(&loaded)).ok()["state"] == "DEPLOYED");
}

#[test]
fn what_cannot_be_is_refused() {
    let server = server();
    deployed(&server, "mine", BASE);
    create(&server, "plain", &json!({"baseModel": BASE})).ok();
    create(&server, "merged", &json!({"baseModel": TUNED})).ok();
    server
        .post(
            "/v1/accounts/default/deployments?deploymentId=off&disableAutoDeploy=true",
            &json!({"baseModel": BASE, "enableAddons": true}),
        )
        .ok();
    let on = |id: &str| json!(format!("accounts/default/deployments/{id}"));
    for (body, status, code, part) in [
        (json!({"model": TUNED, "deployment": on("plain")}), 400, 9, "takes no adapters"),
        (json!({"model": TUNED, "deployment": on("merged")}), 400, 9, "takes no adapters"),
        (json!({"model": TUNED, "deployment": on("off")}), 400, 9, "scaled to zero"),
        (json!({"model": TUNED, "deployment": on("nothing")}), 404, 5, "does not exist"),
        (json!({"model": BASE, "deployment": on("mine")}), 400, 9, "is a base"),
        (json!({"model": "accounts/default/models/nothing"}), 404, 5, "not installed"),
        (json!({}), 400, 3, "model: is required"),
        (json!({"model": TUNED, "deployment": "accounts/other/deployments/mine"}), 400, 3, "account default"),
        (json!({"model": TUNED, "deployment": on("mine"), "serverless": true}), 400, 3, "serverless"),
        (json!({"model": TUNED, "public": true}), 501, 12, "public"),
    ] {
        let (found, found_code, message) = server.post(PATH, &body).error();
        assert!((found, found_code) == (status, code) && message.contains(part), "{body}: {found} {message}");
    }
    let replace = server.post(&format!("{PATH}?replaceMergedAddon=true"), &json!({"model": TUNED}));
    assert_eq!(replace.error().1, 12);
    assert_eq!(server.get(PATH).ok()["totalSize"], 0);
}
