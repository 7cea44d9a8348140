//! `POST /v1/accounts/{account}/models`.

use serde_json::json;

use crate::server::{Server, install_model};
use crate::snapshot;

const MODELS: &str = "/v1/accounts/default/models";

#[test]
fn models_begin_without_files() {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    let base = json!({"modelId": "mine", "model": {
        "kind": "HF_BASE_MODEL", "displayName": "Mine", "description": "for tests",
        "huggingFaceUrl": "https://huggingface.co/o/m",
        "baseModelDetails": {"checkpointFormat": "HUGGINGFACE", "worldSize": 1},
    }});
    snapshot!(server.post(MODELS, &base));
    let adapter = json!({"model_id": "tuned", "model": {"peft_details": {
        "base_model": "accounts/fireworks/models/tiny", "r": 8, "target_modules": ["q_proj"]
    }}});
    snapshot!(server.post(MODELS, &adapter));
    let again = server.post(MODELS, &base);
    assert_eq!((again.error().0, again.error().1), (409, 6));
    let listed = server.get(&format!("{MODELS}?filter=state%3DUPLOADING%20AND%20kind%3DHF_BASE_MODEL")).ok();
    assert_eq!(
        (listed["totalSize"].as_i64(), &listed["models"][0]["displayName"]),
        (Some(1), &json!("Mine"))
    );
    // Nothing can use it.
    let chat =
        json!({"model": "accounts/default/models/mine", "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(server.post("/v1/chat/completions", &chat).status, 404);
    let deployed = server.get("/v1/accounts/default/deployedModels").ok();
    assert_eq!(deployed["totalSize"], 0);
    server.ready_dataset("rows");
    let job = json!({"dataset": "rows", "baseModel": "mine"});
    let (status, code, message) = server.post("/v1/accounts/default/supervisedFineTuningJobs", &job).error();
    assert!((status, code) == (400, 9) && message.contains("is being uploaded"), "{message}");
    let (status, code, _) = server.get(&format!("{MODELS}/mine:getDownloadEndpoint")).error();
    assert_eq!((status, code), (400, 9));
    // It survives a restart, and can be deleted.
    let server = Server::start_in(server.stop());
    assert_eq!(server.get(&format!("{MODELS}/mine")).ok()["state"], "UPLOADING");
    server.delete(&format!("{MODELS}/mine")).ok();
    assert_eq!(server.get(&format!("{MODELS}/mine")).status, 404);
}

#[test]
fn the_model_that_a_job_makes_cannot_be_made_by_hand() {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    server.ready_dataset("rows");
    let job = json!({"dataset": "rows", "baseModel": "tiny", "outputModel": "mine"});
    let job = server.post("/v1/accounts/default/supervisedFineTuningJobs", &job).ok();
    let make = || server.post(MODELS, &json!({"modelId": "mine", "model": {"kind": "HF_BASE_MODEL"}}));
    let (status, code, message) = make().error();
    let expect = "a job with output model accounts/default/models/mine exists already";
    assert_eq!((status, code, message.as_str()), (409, 6, expect));
    server.post(&format!("/v1/{}:cancel", job["name"].as_str().unwrap()), &json!({})).ok();
    make().ok();
}

#[test]
fn what_has_no_effect_is_refused_by_name() {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    install_model(server.dir.path(), "default", "mine", Some("tiny"));
    let check = |id: &str, model: serde_json::Value, code: i64, expect: &str| {
        let (_, found, message) = server.post(MODELS, &json!({"modelId": id, "model": model})).error();
        assert!(found == code && message.contains(expect), "{expect}: {found} {message}");
    };
    let base = |more: serde_json::Value| {
        let mut model = json!({"kind": "HF_BASE_MODEL"});
        model.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        model
    };
    for kind in [
        "HF_TEFT_ADDON",
        "FLUMINA_BASE_MODEL",
        "DRAFT_ADDON",
        "LIVE_MERGE",
        "CUSTOM_MODEL",
        "EMBEDDING_MODEL",
    ] {
        check("m", json!({"kind": kind}), 12, kind);
    }
    check("m", base(json!({"public": true})), 12, "model.public");
    check("m", base(json!({"contextLength": 4096})), 12, "model.contextLength");
    check("m", base(json!({"conversationConfig": {"style": "jinja"}})), 12, "model.conversationConfig");
    check("m", base(json!({"baseModelDetails": {"worldSize": 8}})), 12, "worldSize");
    check("m", base(json!({"baseModelDetails": {"checkpointFormat": "NATIVE"}})), 12, "checkpointFormat");
    check("m", base(json!({"baseModelDetails": {"moe": true}})), 12, "baseModelDetails.moe");
    check("m", base(json!({"displayName": "x".repeat(64)})), 3, "displayName");
    check("", base(json!({})), 3, "modelId");
    check("M", base(json!({})), 3, "modelId");
    check("m", json!({}), 3, "peftDetails.baseModel");
    let adapter = |base: &str, r: i64| json!({"peftDetails": {"baseModel": base, "r": r}});
    check("m", adapter("accounts/fireworks/models/tiny", 3), 3, "is not between 4 and 64");
    check("m", adapter("accounts/fireworks/models/none", 8), 5, "no READY model");
    check("m", adapter("accounts/default/models/mine", 8), 3, "is an adapter itself");
    check("mine", base(json!({})), 6, "exists already");
}
