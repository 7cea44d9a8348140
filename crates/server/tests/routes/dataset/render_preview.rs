//! `POST .../datasets/{dataset}:renderPreview`.

use std::path::{Path, PathBuf};

use hearth_data::template::process::RenderRequest;
use hearth_data::{Conversation, Message, Rendered, Renderer, Role, RowReader};
use hearth_domain::{AccountId, ModelId};
use hearth_store::installed::{self, InstalledKind, ModelManifest};
use serde_json::{Value, json};

use super::upload_files;
use crate::server::{Reply, Server, install_model};

const PATH: &str = "/v1/accounts/default/datasets/rows:renderPreview";
/// Tokens that the base can attend to.
const CONTEXT: u32 = 128;

/// Tokenizer and template of the base.
pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/fixtures/tiny")
}

/// A base that has a tokenizer and no weights.
pub fn install(data_dir: &Path) {
    let staged = installed::stage(data_dir).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tiny().join(file), staged.join(file)).unwrap();
    }
    let manifest = ModelManifest {
        version: ModelManifest::VERSION,
        kind: InstalledKind::Base,
        display_name: String::new(),
        source: "test".to_owned(),
        hub_id: None,
        parameter_count: 1,
        context_length: CONTEXT,
        model_type: "llama".to_owned(),
        base_model: None,
        r: 0,
        target_modules: Vec::new(),
        files: installed::digest_files(&staged).unwrap(),
        create_time_ms: 1_700_000_000_000,
    };
    let (account, id) = (AccountId::new("fireworks").unwrap(), ModelId::new("words").unwrap());
    installed::install(data_dir, &account, &id, &staged, &manifest).unwrap();
}

pub fn chat(turns: &[&str]) -> String {
    let messages: Vec<Value> = turns
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"role": (["user", "assistant"][index % 2]), "content": text}))
        .collect();
    json!({ "messages": messages }).to_string()
}

/// Rows of one turn and of several, one that is not learnt, one that is too long, and characters of many bytes.
fn rows() -> String {
    let skipped = json!({"messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "not learnt", "weight": 0},
        {"role": "user", "content": "r"},
        {"role": "assistant", "content": "learnt"},
    ]});
    let long = "word ".repeat(200);
    [
        chat(&["question", "answer"]),
        String::new(),
        chat(&["Привет, 数据 🦀", "é ü 🦀🦀", "more", "   spaces  "]),
        skipped.to_string(),
        chat(&["question", &long]),
        chat(&["last", "one"]),
    ]
    .join("\n")
}

fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path());
    let server = Server::start_in(dir);
    ready(&server, "rows", &rows());
    server
}

pub fn ready(server: &Server, id: &str, rows: &str) {
    upload_files(server, id, &[("rows.jsonl", rows.as_bytes())]);
    server.post(&format!("/v1/accounts/default/datasets/{id}:validateUpload"), &json!({})).ok();
}

fn render(server: &Server, more: Value) -> Reply {
    let mut body = json!({"baseModel": "words"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post(PATH, &body)
}

/// Tokens and weights of a sample, as the segments of the reply say.
fn flat(datum: &Value) -> (Vec<u32>, Vec<f32>) {
    let (mut tokens, mut weights) = (Vec::new(), Vec::new());
    for segment in datum["segments"].as_array().unwrap() {
        for id in segment["tokenIds"].as_array().unwrap() {
            tokens.push(u32::try_from(id.as_u64().unwrap()).unwrap());
            weights.push(segment["lossWeight"].as_f64().unwrap() as f32);
        }
    }
    (tokens, weights)
}

/// What the trainer makes of the rows, with their lines.
fn trained(renderer: &Renderer, rows: &str, context: usize) -> Vec<(u64, Rendered)> {
    let render = |row: hearth_data::Row| (row.line, renderer.render(&row, context).unwrap());
    RowReader::new(rows.as_bytes()).map(|row| render(row.unwrap())).collect()
}

#[track_caller]
fn check(examples: &[Value], expect: &[(u64, Rendered)], renderer: &Renderer) {
    assert_eq!(examples.len(), expect.len());
    for (example, (line, expect)) in examples.iter().zip(expect) {
        assert_eq!(example["line"], line.to_string());
        assert_eq!(example["droppedReason"] == "", expect.too_long.is_empty(), "{example}");
        if expect.samples.is_empty() {
            assert_eq!(example["renderings"], json!([]), "{example}");
            continue;
        }
        let datums = example["renderings"][0]["renderedDatums"].as_array().unwrap();
        assert_eq!(datums.len(), expect.samples.len());
        for (datum, expect) in datums.iter().zip(&expect.samples) {
            assert_eq!(flat(datum), (expect.tokens.clone(), expect.weights.clone()));
            assert_eq!(
                (&datum["tokenCount"], &datum["trainedTokenCount"]),
                (&json!(expect.tokens.len()), &json!(expect.trained_tokens()))
            );
            let segments = datum["segments"].as_array().unwrap();
            let text: String = segments.iter().map(|segment| segment["text"].as_str().unwrap()).collect();
            assert_eq!(text, renderer.tokenizer().decode(&expect.tokens, false).unwrap());
            // Neighbours differ, or they would be one.
            assert!(
                segments.windows(2).all(|pair| pair[0]["lossWeight"] != pair[1]["lossWeight"]),
                "{datum}"
            );
        }
    }
}

#[test]
fn segments_are_what_the_trainer_is_given() {
    let server = server();
    let renderer = Renderer::open(&tiny(), None).unwrap();
    for context in [CONTEXT, 64, 16] {
        let reply = render(&server, json!({"contextLength": context, "pageSize": 50})).ok();
        let expect = trained(&renderer, &rows(), context as usize);
        check(reply["examples"].as_array().unwrap(), &expect, &renderer);
        assert_eq!((&reply["totalSize"], &reply["nextPageToken"]), (&json!(5), &json!("")));
    }
    let reply = render(&server, json!({})).ok();
    let dropped = reply["examples"][3]["droppedReason"].as_str().unwrap();
    assert!(dropped.contains("longer than 128 tokens"), "{dropped}");
    let answer = &reply["examples"][0]["renderings"][0]["renderedDatums"][0]["segments"][1];
    assert_eq!((&answer["text"], &answer["lossWeight"]), (&json!("answer<|im_end|>"), &json!(1.0)));
}

#[test]
fn pages_hold_every_row_once() {
    let server = server();
    let whole = render(&server, json!({})).ok()["examples"].as_array().unwrap().clone();
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let page = render(&server, json!({"pageSize": 2, "pageToken": token})).ok();
        pages.extend(page["examples"].as_array().unwrap().clone());
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
        // A token belongs to its question.
        let other = render(&server, json!({"pageSize": 2, "pageToken": token, "contextLength": 64}));
        assert_eq!(other.error().1, 3);
    }
    assert_eq!(pages, whole);
}

const TEMPLATE: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|im_end|>{% endfor %}\
    {% if add_generation_prompt %}[assistant]{% endif %}";

/// A server whose processes for templates answer what this file says, whatever they are asked.
fn server_with_replies(file: &Path) -> Server {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path());
    let script = format!("cat > {0}.asked; cat {0}", file.display());
    let server = Server::start_with(dir, |config| {
        config.render_command = Some(["/bin/sh", "-c", &script].map(Into::into).to_vec());
    });
    ready(&server, "rows", &format!("{}\n", chat(&["question", "answer"])).repeat(3));
    server
}

#[test]
fn other_templates_run_in_a_process_of_their_own() {
    let canned = tempfile::tempdir().unwrap();
    let file = canned.path().join("reply");
    let messages = vec![Message::new(Role::User, "question"), Message::new(Role::Assistant, "answer")];
    let conversation = Conversation { messages, tools: Vec::new() };
    let renderer = Renderer::open(&tiny(), Some(TEMPLATE)).unwrap();
    let request = RenderRequest::for_training(TEMPLATE, renderer.tokenizer().special_tokens(), &conversation);
    std::fs::write(&file, serde_json::to_vec(&request.render()).unwrap()).unwrap();
    let server = server_with_replies(&file);
    let reply = render(&server, json!({ "jinjaTemplate": TEMPLATE })).ok();
    let rows = format!("{}\n", chat(&["question", "answer"])).repeat(3);
    let expect = trained(&renderer, &rows, CONTEXT as usize);
    check(reply["examples"].as_array().unwrap(), &expect, &renderer);
    let asked = std::fs::read_to_string(canned.path().join("reply.asked")).unwrap();
    assert!(asked.contains("question") && asked.contains("[assistant]"), "{asked}");
    // What a job with this mode would train with.
    let mode = json!({"thinkingTraceHistoryMode": "THINKING_TRACE_HISTORY_MODE_INTERLEAVED"});
    let interleaved = render(&server, mode).ok();
    check(interleaved["examples"].as_array().unwrap(), &expect, &renderer);
    let asked = std::fs::read_to_string(canned.path().join("reply.asked")).unwrap();
    assert!(asked.contains("reasoning_content=''"), "{asked}");
    // The base's own template is not a stranger.
    let own = hearth_data::template::source_of(&tiny()).unwrap().unwrap();
    std::fs::remove_file(&file).unwrap();
    let own = render(&server, json!({ "jinjaTemplate": own })).ok();
    let renderer = Renderer::open(&tiny(), None).unwrap();
    check(own["examples"].as_array().unwrap(), &trained(&renderer, &rows, CONTEXT as usize), &renderer);
    // A process that dies is the template's fault.
    let (status, code, message) = render(&server, json!({ "jinjaTemplate": TEMPLATE })).error();
    assert_eq!((status, code, message.starts_with("jinjaTemplate: ")), (400, 3, true), "{message}");
}

#[test]
fn wrong_requests_are_refused() {
    let server = server();
    install_model(server.dir.path(), "default", "adapter", Some("words"));
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "empty"})).ok();
    let check = |more: Value, expect: (u16, i64), part: &str| {
        let (status, code, message) = render(&server, more.clone()).error();
        assert_eq!((status, code), expect, "{more}: {message}");
        assert!(message.contains(part), "{message}");
    };
    check(json!({"baseModel": ""}), (400, 3), "baseModel");
    check(json!({"baseModel": "gone"}), (404, 5), "baseModel");
    check(json!({"baseModel": "adapter"}), (400, 3), "is an adapter; give its base");
    check(json!({"warmStartFrom": "adapter"}), (400, 3), "give one of the two");
    check(json!({"baseModel": "", "warmStartFrom": "gone"}), (404, 5), "gone");
    let base = "accounts/fireworks/models/words";
    check(json!({"baseModel": "", "warmStartFrom": base}), (400, 3), "is no adapter");
    check(json!({"thinkingTraceHistoryMode": 7}), (400, 3), "thinkingTraceHistoryMode");
    let of_adapter = render(&server, json!({"baseModel": "", "warmStartFrom": "adapter"})).ok();
    assert_eq!(of_adapter, render(&server, json!({})).ok());
    check(json!({"contextLength": 15}), (400, 3), "contextLength");
    check(json!({"contextLength": 129}), (400, 3), "contextLength");
    check(json!({"pageSize": -1}), (400, 3), "pageSize");
    check(json!({"pageToken": "x"}), (400, 3), "pageToken");
    check(json!({"jinjaTemplate": "x".repeat((1 << 20) + 1)}), (400, 3), "jinjaTemplate");
    let empty = "/v1/accounts/default/datasets/empty:renderPreview";
    assert_eq!(server.post(empty, &json!({"baseModel": "words"})).error().1, 9);
}
