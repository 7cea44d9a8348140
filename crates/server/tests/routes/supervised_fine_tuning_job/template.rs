//! A chat template is tried before there is a job.

use hearth_data::Role;
use hearth_data::template::process::RenderRequest;
use hearth_data::{Conversation, Message};
use hearth_data::{Renderer, template};
use serde_json::{Value, json};

use super::JOBS;
use crate::dataset::render_preview::{install, tiny};
use crate::server::Server;

const GOOD: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|im_end|>{% endfor %}\
    {% if add_generation_prompt %}[assistant]{% endif %}";

/// A server whose processes for templates answer `error` to what has `marked` in it, and as for the first row else.
fn server(marked: &str, error: &Value) -> (Server, tempfile::TempDir) {
    let canned = tempfile::tempdir().unwrap();
    let messages = vec![Message::new(Role::User, "question 0"), Message::new(Role::Assistant, "answer 0")];
    let conversation = Conversation { messages, tools: Vec::new() };
    let renderer = Renderer::open(&tiny(), Some(GOOD)).unwrap();
    let request = RenderRequest::for_training(GOOD, renderer.tokenizer().special_tokens(), &conversation);
    std::fs::write(canned.path().join("good"), serde_json::to_vec(&request.render()).unwrap()).unwrap();
    std::fs::write(canned.path().join("bad"), error.to_string()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    install(dir.path());
    let script = format!(
        "asked=$(cat); echo \"$asked\" >> {0}/asked; case \"$asked\" in *'{marked}'*) cat {0}/bad;; *) cat {0}/good;; esac",
        canned.path().display()
    );
    let server = Server::start_with(dir, |config| {
        config.render_command = Some(["/bin/sh", "-c", &script].map(Into::into).to_vec());
    });
    server.ready_dataset("rows");
    (server, canned)
}

fn body(template: &str) -> Value {
    json!({"dataset": "rows", "baseModel": "words", "jinjaTemplate": template})
}

#[test]
fn a_template_that_works_makes_a_job_and_is_tried_on_rows() {
    let (server, canned) = server("nothing has this", &json!({}));
    let job = server.post(JOBS, &body(GOOD)).ok();
    assert_eq!(job["jinjaTemplate"], GOOD);
    let asked = std::fs::read_to_string(canned.path().join("asked")).unwrap();
    for row in ["question 0", "question 4"] {
        assert!(asked.contains(row), "{asked}");
    }
    // The base's own is no stranger's, and needs no process.
    std::fs::remove_file(canned.path().join("asked")).unwrap();
    let own = template::source_of(&tiny()).unwrap().unwrap();
    server.post(JOBS, &body(&own)).ok();
    assert!(!canned.path().join("asked").exists());
}

#[test]
fn a_template_that_cannot_be_compiled_makes_no_job() {
    let error = json!({"error": {"message": "unexpected end of block", "line": 3}});
    let (server, _canned) = server("messages", &error);
    let (status, code, message) = server.post(JOBS, &body(GOOD)).error();
    assert_eq!((status, code), (400, 3));
    assert!(message.contains("jinjaTemplate: chat template, line 3: unexpected end of block"), "{message}");
    assert_eq!(server.get(JOBS).ok()["totalSize"], 0);
}

#[test]
fn a_row_that_the_template_refuses_is_named() {
    let error = json!({"error": {"message": "no such question", "line": 7}});
    let (server, _canned) = server("question 2", &error);
    let (status, code, message) = server.post(JOBS, &body(GOOD)).error();
    assert_eq!((status, code), (400, 3));
    assert!(message.contains("jinjaTemplate: line 3: chat template, line 7: no such question"), "{message}");
}

#[test]
fn the_history_of_thoughts_is_tried_and_shown() {
    let refuses =
        json!({"fault": {"fault": {"part": "Whole", "code": "template", "message": "m", "fix": "f"}}});
    let (server, canned) = server("first thoughts", &refuses);
    let with_mode = |mode: &str| {
        let mut body = body(GOOD);
        body["thinkingTraceHistoryMode"] = json!(format!("THINKING_TRACE_HISTORY_MODE_{mode}"));
        server.post(JOBS, &body)
    };
    // A template that writes no thoughts.
    let (status, code, message) = with_mode("INTERLEAVED").error();
    assert_eq!((status, code), (400, 9));
    assert_eq!(
        message,
        "thinkingTraceHistoryMode: the chat template does not write reasoning_content; use one that does"
    );
    // One that writes two texts for two answers does not keep the thoughts of the first.
    let good: Value = serde_json::from_slice(&std::fs::read(canned.path().join("good")).unwrap()).unwrap();
    let mut two = good.clone();
    let text = two["turns"]["turns"]["texts"][0].clone();
    two["turns"]["turns"]["texts"].as_array_mut().unwrap().push(text);
    std::fs::write(canned.path().join("bad"), two.to_string()).unwrap();
    let (status, code, message) = with_mode("PRESERVED").error();
    assert_eq!((status, code), (400, 9));
    assert!(message.contains("leaves out the reasoning of earlier answers"), "{message}");
    let job = with_mode("INTERLEAVED").ok();
    assert_eq!(job["thinkingTraceHistoryMode"], "THINKING_TRACE_HISTORY_MODE_INTERLEAVED");
    assert_eq!(job["jinjaTemplate"], GOOD);
    std::fs::write(canned.path().join("bad"), good.to_string()).unwrap();
    let job = with_mode("PRESERVED").ok();
    assert_eq!(job["thinkingTraceHistoryMode"], "THINKING_TRACE_HISTORY_MODE_PRESERVED");
    // And one that writes one text for both does not leave them out.
    let (status, code, message) = with_mode("INTERLEAVED").error();
    assert_eq!((status, code), (400, 9));
    assert!(message.contains("in a way that cannot be left out"), "{message}");
    assert_eq!(server.get(JOBS).ok()["totalSize"], 2);
}
