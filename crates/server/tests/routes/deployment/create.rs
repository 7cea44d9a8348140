//! `POST /v1/accounts/{account}/deployments`.

use serde_json::json;

use super::{BASE, PATH, TUNED, ask, create, deployed, ready, server};

#[test]
fn a_deployment_is_loaded_and_answers() {
    let server = server();
    // As fireworks-ai 0.19 sends it.
    let body = json!({
        "displayName": "My deployment", "baseModel": BASE, "description": "for tests", "minReplicaCount": 0,
        "annotations": {"team": "a"},
        "autoscalingPolicy": {"scaleUpWindow": "1s", "scaleDownWindow": "60s", "scaleToZeroWindow": "300s", "loadTargets": {}},
    });
    let made = create(&server, "mine", &body).ok();
    assert_eq!(made["name"], "accounts/default/deployments/mine");
    assert_eq!((&made["state"], &made["replicaCount"]), (&json!("CREATING"), &json!(0)));
    assert_eq!((&made["desiredReplicaCount"], &made["maxReplicaCount"]), (&json!(1), &json!(1)));
    assert_eq!(made["replicaStats"]["initializingReplicaCount"], 1);
    assert_eq!((&made["status"]["code"], &made["createdBy"]), (&json!("OK"), &json!("operator@localhost")));
    ready(&server, "mine");
    let shown = server.get(&format!("{PATH}/mine")).ok();
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field}");
    }
    assert_eq!(shown["replicaStats"]["readyReplicaCount"], 1);
    let on_it = format!("{BASE}#accounts/default/deployments/mine");
    for name in [on_it.as_str(), "accounts/default/deployments/mine"] {
        assert_eq!(ask(&server, name), (200, String::new()), "{name}");
    }
    let (status, code, _) = create(&server, "mine", &json!({"baseModel": BASE})).error();
    assert_eq!((status, code), (409, 6));
    // An id of its own, and nothing at all.
    let unnamed = server.post(PATH, &json!({"baseModel": TUNED})).ok();
    assert_eq!(unnamed["name"].as_str().unwrap().rsplit('/').next().unwrap().len(), 8);
    for flag in ["validateOnly", "dryRun"] {
        let tried =
            server.post(&format!("{PATH}?deploymentId=tried&{flag}=true"), &json!({"baseModel": BASE})).ok();
        assert_eq!(tried["name"], "accounts/default/deployments/tried");
        assert_eq!(server.get(&format!("{PATH}/tried")).status, 404);
    }
    let off = server.post(
        &format!("{PATH}?deploymentId=off&disableAutoDeploy=true"),
        &json!({"deployment": {"baseModel": BASE, "deploymentShape": "default"}}),
    );
    let off = off.ok();
    assert_eq!((&off["state"], &off["desiredReplicaCount"]), (&json!("READY"), &json!(0)));
}

#[test]
fn an_adapter_is_deployed_with_its_base() {
    let server = server();
    deployed(&server, "merged", TUNED);
    for name in
        [TUNED.to_owned(), "accounts/default/deployments/merged".to_owned(), format!("{TUNED}#merged")]
    {
        assert_eq!(ask(&server, &name), (200, String::new()), "{name}");
    }
    assert_eq!(ask(&server, &format!("{BASE}#accounts/default/deployments/merged")).0, 404);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let server = server();
    let refused = |more: serde_json::Value, status: u16, code: i64, part: &str| {
        let mut body = json!({"baseModel": BASE});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (found, found_code, message) = create(&server, "x", &body).error();
        assert!((found, found_code) == (status, code) && message.contains(part), "{more}: {found} {message}");
    };
    let windows = |name: &str, text: &str| json!({"autoscalingPolicy": {name: text}});
    refused(json!({"minReplicaCount": -1}), 400, 3, "minReplicaCount: is -1");
    refused(json!({"maxReplicaCount": 2}), 400, 3, "maxReplicaCount: is 2, but this server is one machine");
    refused(json!({"description": "x".repeat(1000)}), 400, 3, "description: has 1000 characters; 999");
    refused(json!({"displayName": "x".repeat(64)}), 400, 3, "displayName: has 64 characters; 63");
    refused(windows("scaleUpWindow", "3601s"), 400, 3, "autoscalingPolicy.scaleUpWindow: is 3601 seconds");
    refused(windows("scaleDownWindow", "-1s"), 400, 3, "autoscalingPolicy.scaleDownWindow");
    refused(windows("scaleToZeroWindow", "299s"), 400, 3, "between 300 and");
    refused(json!({"autoscalingPolicy": {"loadTargets": {"default": 0.8}}}), 501, 12, "loadTargets");
    refused(json!({"baseModel": ""}), 400, 3, "baseModel: is required");
    refused(json!({"baseModel": "accounts/default/models/nothing"}), 404, 5, "nothing");
    refused(json!({"baseModel": "accounts/other/models/x"}), 404, 5, "x");
    refused(json!({"baseModel": TUNED, "enableAddons": true}), 400, 3, "enableAddons");
    refused(json!({"maxContextLength": 7}), 400, 3, "maxContextLength: is 7; the model has 512");
    // The tiny model's weights are in single precision, for which the API has no word.
    refused(json!({"precision": "FP8"}), 501, 12, "precision");
    for (field, value) in [
        ("acceleratorType", json!("NVIDIA_H100_80GB")),
        ("acceleratorCount", json!(1)),
        ("region", json!("US_IOWA_1")),
        ("placement", json!({"multiRegion": "US"})),
        ("draftModel", json!(BASE)),
        ("draftTokenCount", json!(3)),
        ("ngramSpeculationLength", json!(3)),
        ("deploymentShape", json!("accounts/fireworks/deploymentShapes/fast")),
        ("worldSize", json!(2)),
        ("enableMtp", json!(true)),
        ("autoTune", json!({"longPrompt": true})),
        ("directRouteType", json!("INTERNET")),
    ] {
        refused(json!({ field: value }), 501, 12, field);
    }
    let (status, code, message) = create(&server, "local", &json!({"baseModel": BASE})).error();
    assert_eq!((status, code), (400, 3), "{message}");
    assert_eq!(create(&server, "Wrong_Id", &json!({"baseModel": BASE})).status, 400);
    let list = server.get(PATH).ok();
    assert_eq!(list["totalSize"], 1, "only the one that is built in: {list}");
    // What is so anyway may be said.
    let same = json!({
        "baseModel": BASE, "worldSize": 1, "generatorCount": 1, "maxContextLength": 512,
        "placement": {"multiRegion": "GLOBAL"}, "precision": "PRECISION_UNSPECIFIED",
    });
    let options = "disableSpeculativeDecoding=true&skipShapeValidation=true&acceptShapelessRisk=true";
    server.post(&format!("{PATH}?deploymentId=same&{options}"), &same).ok();
}
