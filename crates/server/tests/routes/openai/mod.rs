//! Chat and the model list in OpenAI's form, over a tiny random model.

mod chat;
mod chat_errors;
mod choices;
mod completions;
mod logprobs;
mod models;
mod response_format;
mod tools;

use std::path::Path;

use hearth_domain::{AccountId, ModelId, ModelRef};
use hearth_store::installed::{self, InstalledKind, ModelManifest};
use serde_json::{Value, json};

use crate::server::{Reply, Server};
use crate::tiny;

/// The base model that everybody may use.
pub(crate) const BASE: &str = "accounts/fireworks/models/tiny";
/// An adapter of the operator's account.
pub(crate) const TUNED: &str = "accounts/default/models/tuned";
/// An adapter of another account.
const FOREIGN: &str = "accounts/other/models/secret";

/// A server with the three models.
pub(crate) fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), BASE, None, 1);
    install(dir.path(), TUNED, Some(BASE), 2);
    install(dir.path(), FOREIGN, Some(BASE), 3);
    Server::start_in(dir)
}

fn model_ref(name: &str) -> ModelRef {
    let parts: Vec<&str> = name.split('/').collect();
    ModelRef { account: AccountId::new(parts[1]).unwrap(), id: ModelId::new(parts[3]).unwrap() }
}

pub(crate) fn install(data_dir: &Path, name: &str, base: Option<&str>, seed: u64) {
    install_with(data_dir, name, base, seed, None);
}

/// With a chat template of its own, if one is given.
pub(crate) fn install_with(
    data_dir: &Path,
    name: &str,
    base: Option<&str>,
    seed: u64,
    template: Option<&str>,
) {
    let staged = installed::stage(data_dir).unwrap();
    match base {
        None => tiny::write_base(&staged, seed),
        Some(_) => tiny::write_adapter(&staged, seed),
    }
    if let Some(template) = template {
        std::fs::write(staged.join("chat_template.jinja"), template).unwrap();
    }
    let manifest = ModelManifest {
        version: ModelManifest::VERSION,
        kind: if base.is_none() { InstalledKind::Base } else { InstalledKind::Adapter },
        display_name: String::new(),
        source: "test".to_owned(),
        hub_id: None,
        parameter_count: 1,
        context_length: tiny::CONTEXT as u32,
        model_type: "llama".to_owned(),
        base_model: base.map(model_ref),
        r: 2,
        target_modules: vec!["q_proj".to_owned()],
        files: installed::digest_files(&staged).unwrap(),
        create_time_ms: 1_700_000_000_123,
    };
    let name = model_ref(name);
    installed::install(data_dir, &name.account, &name.id, &staged, &manifest).unwrap();
}

/// A greedy request of a few tokens.
fn body(model: &str, more: Value) -> Value {
    let mut body = json!({
        "model": model,
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0,
        "max_tokens": 12,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn chat(server: &Server, model: &str, more: Value) -> Reply {
    server.post("/v1/chat/completions", &body(model, more))
}

/// A greedy completion of a few tokens.
fn complete(server: &Server, prompt: Value, more: Value) -> Reply {
    let mut body = json!({"model": BASE, "prompt": prompt, "temperature": 0, "max_tokens": 12});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post("/v1/completions", &body)
}

/// The JSON of each event of a stream, without `[DONE]`, which must come last.
fn events(reply: &Reply) -> Vec<Value> {
    let text = std::str::from_utf8(&reply.body).unwrap();
    assert_eq!((reply.status, reply.headers["content-type"].as_str()), (200, "text/event-stream"), "{text}");
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (last, events) = data.split_last().unwrap();
    assert_eq!(*last, "[DONE]");
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

/// The text of a successful answer.
fn answer(reply: Reply) -> String {
    reply.ok()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}
