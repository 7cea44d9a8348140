//! Chats with checkpoints that a job keeps.

use serde_json::json;

use super::JOBS;
use super::checkpoints::{begin_with, save, server};
use crate::server::{Reply, Server};

fn chat(server: &Server, model: &str) -> Reply {
    let body = json!({
        "model": model, "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 8,
    });
    server.post("/v1/chat/completions", &body)
}

fn text(reply: Reply) -> String {
    reply.ok()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[test]
fn a_checkpoint_that_stays_answers_while_the_job_is_there() {
    let server = server();
    let run =
        begin_with(&server, "j", &json!({"baseModel": "tiny", "samplerCheckpointSaveIntervalSteps": 10}));
    assert_eq!(server.get(&format!("{JOBS}/j")).ok()["samplerCheckpointSaveIntervalSteps"], 10);
    let spec: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("job.json")).unwrap()).unwrap();
    assert_eq!(spec["sampler_checkpoint_interval_steps"], 10);
    for step in [10, 15, 20] {
        save(&run, step);
    }
    let name = |step: &str| format!("accounts/default/supervisedFineTuningJobs/j/checkpoints/{step}");
    let ten = text(chat(&server, &name("step-00000010")));
    let twenty = text(chat(&server, &name("step-00000020")));
    assert_ne!(ten, twenty);
    assert_eq!(text(chat(&server, &name("step-10"))), ten);
    // As a model that is made of it.
    let promote = format!("{JOBS}/j/checkpoints/step-00000010:promote");
    server.post(&promote, &json!({"outputModel": "ten"})).ok();
    assert_eq!(text(chat(&server, "accounts/default/models/ten")), ten);
    let left: Vec<_> = std::fs::read_dir(run.join("adapters"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    // One that may be gone in the next moment, one that is not there, no step, and another job.
    let other = "accounts/default/supervisedFineTuningJobs/k/checkpoints/step-00000010";
    for unknown in
        [name("step-00000015"), name("step-00000030"), name("final"), name("step-"), other.to_owned()]
    {
        assert_eq!(chat(&server, &unknown).status, 404, "{unknown}");
    }
    let acme = server.account("acme");
    let body = json!({"model": name("step-00000010"), "messages": [{"role": "user", "content": "hello"}]});
    let refused = server.send_as(Some(&acme), "POST", "/v1/chat/completions", body.to_string().as_bytes());
    assert_eq!(refused.status, 404);
    server.delete(&format!("{JOBS}/j")).ok();
    assert_eq!(chat(&server, &name("step-00000010")).status, 404);
}
