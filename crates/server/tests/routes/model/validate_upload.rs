//! `GET .../models/{model}:validateUpload`: from files to a model that answers.

use std::path::Path;

use serde_json::{Value, json};

use crate::server::{Reply, Server};
use crate::tiny;

const BASE: &str = "accounts/default/models/base";
const TUNED: &str = "accounts/default/models/tuned";

/// A server whose rendering processes all say the same.
fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let reply = dir.path().join("reply.json");
    let rendered = json!({"rendered": {
        "prompt": "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n", "answer": "x<|im_end|>\n"
    }});
    std::fs::write(&reply, rendered.to_string()).unwrap();
    Server::start_with(dir, |config| config.render_command = Some(vec!["/bin/cat".into(), reply.into()]))
}

/// Uploads all files of a folder.
fn upload(server: &Server, model: &str, from: &Path) {
    let mut sizes = serde_json::Map::new();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        sizes.insert(entry.file_name().into_string().unwrap(), json!(entry.metadata().unwrap().len()));
    }
    let urls = server.post(&format!("/v1/{model}:getUploadEndpoint"), &json!({"filenameToSize": sizes})).ok();
    for (file, url) in urls["filenameToSignedUrls"].as_object().unwrap() {
        let bytes = std::fs::read(from.join(file)).unwrap();
        assert_eq!(server.request(&[], "PUT", url.as_str().unwrap(), &bytes).status, 200, "{file}");
    }
}

fn create(server: &Server, model: &str, more: Value) {
    let (_, id) = model.rsplit_once('/').unwrap();
    let mut body = json!({"displayName": "Uploaded"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post("/v1/accounts/default/models", &json!({"modelId": id, "model": body})).ok();
}

fn validate(server: &Server, model: &str) -> Reply {
    server.get(&format!("/v1/{model}:validateUpload"))
}

fn answer(server: &Server, model: &str) -> String {
    let body = json!({
        "model": model, "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 8,
    });
    let reply = server.post("/v1/chat/completions", &body).ok();
    reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[test]
fn a_base_and_an_adapter_come_in_and_answer() {
    let server = server();
    let files = tempfile::tempdir().unwrap();
    let (base, tuned) = (files.path().join("base"), files.path().join("tuned"));
    tiny::write_base(&base, 1);
    std::fs::write(base.join("README.md"), "# base").unwrap();
    std::fs::write(base.join("modeling.py"), "import os").unwrap();
    create(&server, BASE, json!({"kind": "HF_BASE_MODEL"}));
    assert_eq!(validate(&server, BASE).error().1, 9);
    upload(&server, BASE, &base);
    let warnings = validate(&server, BASE).ok()["warnings"].to_string();
    assert!(warnings.contains("modeling.py: kept, and never run"), "{warnings}");
    let model = server.get(&format!("/v1/{BASE}")).ok();
    assert_eq!((&model["state"], &model["displayName"]), (&json!("READY"), &json!("Uploaded")));
    assert_eq!((&model["tunable"], &model["contextLength"]), (&json!(true), &json!(tiny::CONTEXT)));
    assert_eq!((&model["importedFrom"], &model["status"]["code"]), (&json!("upload"), &json!("OK")));
    assert!(!server.dir.path().join("uploads/default/base").exists());
    let first = answer(&server, BASE);
    // READY stays READY, and its files stay.
    assert_eq!(validate(&server, BASE).ok(), json!({"warnings": []}));
    let late = server.post(&format!("/v1/{BASE}:getUploadEndpoint"), &json!({"filenameToSize": {"a": 1}}));
    assert_eq!(late.error().1, 9);
    // It can be trained, as its job shows.
    server.ready_dataset("rows");
    let job = json!({"dataset": "rows", "baseModel": "base"});
    server.post("/v1/accounts/default/supervisedFineTuningJobs", &job).ok();

    tiny::write_adapter_of_rank(&tuned, 2, 4);
    // The tokenizer is the base's: an adapter may come without one.
    std::fs::remove_file(tuned.join("tokenizer.json")).unwrap();
    std::fs::remove_file(tuned.join("tokenizer_config.json")).unwrap();
    create(&server, TUNED, json!({"peftDetails": {"baseModel": BASE, "r": 4}}));
    upload(&server, TUNED, &tuned);
    validate(&server, TUNED).ok();
    let model = server.get(&format!("/v1/{TUNED}")).ok();
    assert_eq!(model["peftDetails"]["r"], 4);
    assert_eq!(model["peftDetails"]["targetModules"], json!(["q_proj", "v_proj", "down_proj"]));
    assert_ne!(answer(&server, TUNED), first);
    // Training can go on from it.
    let job = json!({"dataset": "rows", "warmStartFrom": "tuned"});
    let job = server.post("/v1/accounts/default/supervisedFineTuningJobs", &job).ok();
    assert_eq!((&job["baseModel"], &job["loraRank"]), (&json!(BASE), &json!(4)));
    let urls = server.get(&format!("/v1/{TUNED}:getDownloadEndpoint")).ok();
    let manifest = urls["filenameToSignedUrls"]["hearth-model.json"].as_str().unwrap();
    let manifest = server.request(&[], "GET", manifest, b"").json();
    let digest = manifest["files"]["adapter_model.safetensors"]["sha256"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    // All this is there after a restart too.
    let server = Server::start_in(server.stop());
    assert_eq!(server.get(&format!("/v1/{TUNED}")).ok()["displayName"], "Uploaded");
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_can_be_repaired() {
    let server = server();
    let files = tempfile::tempdir().unwrap();
    let base = files.path().join("base");
    tiny::write_base(&base, 1);
    let config_path = base.join("config.json");
    let good = std::fs::read(&config_path).unwrap();
    let mut config: Value = serde_json::from_slice(&good).unwrap();
    config["num_hidden_layers"] = json!(3);
    config["tie_word_embeddings"] = json!(false);
    std::fs::write(&config_path, config.to_string()).unwrap();
    create(&server, BASE, json!({"kind": "HF_BASE_MODEL"}));
    upload(&server, BASE, &base);
    let reply = validate(&server, BASE);
    let (status, code, message) = reply.error();
    assert_eq!((status, code), (400, 3));
    assert!(message.contains("model.safetensors:lm_head.weight: missing"), "{message}");
    assert!(message.contains("model.safetensors:model.layers.2.mlp.down_proj.weight: missing"), "{message}");
    let violations = reply.json()["details"][0]["fieldViolations"].as_array().unwrap().len();
    assert_eq!(violations, 10, "{message}");
    let model = server.get(&format!("/v1/{BASE}")).ok();
    assert_eq!(
        (&model["state"], &model["status"]["code"]),
        (&json!("UPLOADING"), &json!("INVALID_ARGUMENT"))
    );
    assert_eq!(model["status"]["message"].as_str().unwrap(), message);
    // Nothing staged stays behind.
    assert_eq!(std::fs::read_dir(server.dir.path().join("models/.staging")).unwrap().count(), 0);
    std::fs::write(&config_path, good).unwrap();
    upload(&server, BASE, &base);
    validate(&server, BASE).ok();
    for field in ["skipHfConfigValidation", "trustRemoteCode", "configOnly"] {
        let (status, _, message) = server.get(&format!("/v1/{BASE}:validateUpload?{field}=true")).error();
        assert!(status == 501 && message.contains(field), "{message}");
    }
}

#[test]
fn adapters_are_checked_against_their_base() {
    let server = server();
    let files = tempfile::tempdir().unwrap();
    let base = files.path().join("base");
    tiny::write_base(&base, 1);
    create(&server, BASE, json!({"kind": "HF_BASE_MODEL"}));
    upload(&server, BASE, &base);
    validate(&server, BASE).ok();
    let check = |name: &str, details: Value, change: &dyn Fn(&Path), expect: &[&str]| {
        let dir = files.path().join(name);
        tiny::write_adapter_of_rank(&dir, 2, 4);
        change(&dir);
        let model = format!("accounts/default/models/{name}");
        let mut peft = json!({"baseModel": BASE});
        peft.as_object_mut().unwrap().extend(details.as_object().unwrap().clone());
        create(&server, &model, json!({"kind": "HF_PEFT_ADDON", "peftDetails": peft}));
        upload(&server, &model, &dir);
        let (status, code, message) = validate(&server, &model).error();
        assert_eq!((status, code), (400, 3), "{name}: {message}");
        for piece in expect {
            assert!(message.contains(piece), "{name}, {piece}: {message}");
        }
    };
    let edit = |dir: &Path, field: &str, value: Value| {
        let path = dir.join("adapter_config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config[field] = value;
        std::fs::write(&path, config.to_string()).unwrap();
    };
    check(
        "rank",
        json!({}),
        &|dir| edit(dir, "r", json!(8)),
        &["adapter_model.safetensors:base_model", "shape is"],
    );
    check("dora", json!({}), &|dir| edit(dir, "use_dora", json!(true)), &["adapter_config.json: use_dora"]);
    check(
        "said",
        json!({"r": 8, "targetModules": ["q_proj"]}),
        &|_| {},
        &["peftDetails.r: is 8", "peftDetails.targetModules"],
    );
    let low = |dir: &Path| tiny::write_adapter_of_rank(dir, 2, 2);
    check("low", json!({}), &low, &["r: 2 is not between 4 and 64"]);
    let none = |dir: &Path| std::fs::remove_file(dir.join("adapter_model.safetensors")).unwrap();
    check("none", json!({}), &none, &["adapter_model.safetensors: is missing"]);
    let damaged = |dir: &Path| std::fs::write(dir.join("adapter_model.safetensors"), b"xx").unwrap();
    check("cut", json!({}), &damaged, &["adapter_model.safetensors: damaged"]);
}
