//! Jobs that go on from an adapter.

use std::path::Path;

use serde_json::{Value, json};

use super::JOBS;
use super::checkpoints::{RANK, begin_with, config, finish};
use crate::openai::{self, BASE, TUNED};
use crate::server::{Reply, Server};
use crate::tiny;

const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}";

/// With the base and an adapter over it that has a template of its own.
fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    openai::install(dir.path(), BASE, None, 1);
    openai::install_with(dir.path(), TUNED, Some(BASE), 2, Some(TEMPLATE));
    let server = Server::start_with(dir, config);
    server.ready_dataset("rows");
    server
}

fn create(server: &Server, more: &Value) -> Reply {
    let mut body = json!({"dataset": "rows"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post(JOBS, &body)
}

#[test]
fn what_an_adapter_is_carries_over_and_the_run_keeps_it() {
    let server = server();
    let run = begin_with(&server, "j", &json!({"warmStartFrom": "tuned"}));
    let job = server.get(&format!("{JOBS}/j")).ok();
    assert_eq!((&job["warmStartFrom"], &job["baseModel"]), (&json!(TUNED), &json!(BASE)));
    assert_eq!(job["loraRank"], tiny::RANK);
    assert_eq!(job["jinjaTemplate"], "");
    let spec: Value = serde_json::from_slice(&std::fs::read(run.join("job.json")).unwrap()).unwrap();
    let alpha = 2.0 * tiny::RANK as f64;
    assert_eq!((&spec["lora_rank"], &spec["lora_alpha"]), (&json!(tiny::RANK), &json!(alpha)));
    let adapted: Vec<&str> =
        spec["target_modules"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let (mut got, mut expect) = (adapted, tiny::ADAPTED.to_vec());
    got.sort_unstable();
    expect.sort_unstable();
    assert_eq!(got, expect);
    assert_eq!(spec["chat_template"], TEMPLATE);

    // The run's own copy stays when the model goes.
    let weights = Path::new(spec["warm_start_dir"].as_str().unwrap()).join("adapter_model.safetensors");
    assert!(weights.starts_with(&run));
    let installed = server.dir.path().join("models/default/tuned/adapter_model.safetensors");
    let bytes = std::fs::read(&installed).unwrap();
    server.delete("/v1/accounts/default/models/tuned").ok();
    assert!(!installed.exists());
    assert_eq!(std::fs::read(&weights).unwrap(), bytes);
}

#[test]
fn an_adapter_stays_while_a_job_waits_to_go_on_from_it() {
    let server = server();
    // The only place of a trainer is taken.
    begin_with(&server, "first", &json!({"baseModel": BASE}));
    let job = create(&server, &json!({"warmStartFrom": "tuned"})).ok();
    let name = job["name"].as_str().unwrap();
    let (status, code, message) = server.delete("/v1/accounts/default/models/tuned").error();
    assert!(
        (status, code) == (400, 9) && message.contains(&format!("is needed by {name}")),
        "{status} {code} {message}"
    );
    server.post(&format!("/v1/{name}:cancel"), &json!({})).ok();
    server.delete("/v1/accounts/default/models/tuned").ok();
}

#[test]
fn what_a_job_made_is_gone_on_from() {
    let server = server();
    let run = begin_with(&server, "first", &json!({"baseModel": BASE}));
    finish(&server, &run, "first");
    begin_with(&server, "second", &json!({"warmStartFrom": "first"}));
    let job = server.get(&format!("{JOBS}/second")).ok();
    assert_eq!(
        (&job["warmStartFrom"], &job["loraRank"]),
        (&json!("accounts/default/models/first"), &json!(RANK))
    );
    let weights =
        |dir: &str| std::fs::read(server.dir.path().join(dir).join("adapter_model.safetensors")).unwrap();
    assert_eq!(weights("runs/default/second/warm-start"), weights("models/default/first"));
}

#[test]
fn a_template_of_the_job_comes_before_that_of_the_adapter() {
    let server = server();
    let base = hearth_data::template::source_of(&server.dir.path().join("models/fireworks/tiny")).unwrap();
    let run = begin_with(&server, "j", &json!({"warmStartFrom": TUNED, "jinjaTemplate": base}));
    let spec: Value = serde_json::from_slice(&std::fs::read(run.join("job.json")).unwrap()).unwrap();
    assert_eq!(spec["chat_template"], json!(base));
}

#[test]
fn what_cannot_be_gone_on_from_is_refused() {
    let server = server();
    let check = |more: Value, expect: (u16, i64), part: &str| {
        let (status, code, message) = create(&server, &more).error();
        assert!((status, code) == expect && message.contains(part), "{more}: {status} {code} {message}");
    };
    check(json!({"warmStartFrom": TUNED, "baseModel": BASE}), (400, 3), "and both are");
    check(json!({}), (400, 3), "and neither is");
    check(json!({"warmStartFrom": "gone"}), (404, 5), "there is no model gone");
    check(json!({"warmStartFrom": BASE}), (400, 3), "is a base model, not an adapter; give it as baseModel");
    check(json!({"baseModel": TUNED}), (400, 3), "to go on from it, give it as warmStartFrom");
    check(
        json!({"warmStartFrom": TUNED, "loraRank": 16}),
        (400, 3),
        "loraRank: 16 is not 2, the rank of the adapter in warmStartFrom",
    );
    create(&server, &json!({"warmStartFrom": TUNED, "loraRank": tiny::RANK})).ok();

    // Its files are on their way.
    let model = json!({"modelId": "coming", "model": {"kind": "HF_PEFT_ADDON", "peftDetails": {
        "baseModel": BASE, "r": 8, "targetModules": ["q_proj"],
    }}});
    server.post("/v1/accounts/default/models", &model).ok();
    check(json!({"warmStartFrom": "coming"}), (400, 9), "is being uploaded");

    // A tokenizer of its own is not that of the run.
    openai::install(server.dir.path(), "accounts/default/models/other", Some(BASE), 5);
    let file = server.dir.path().join("models/default/other/tokenizer.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n")).unwrap();
    check(json!({"warmStartFrom": "other"}), (400, 3), "its tokenizer.json is not that of its base");
}
