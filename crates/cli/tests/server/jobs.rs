//! A job from its rows to chats with what it made: server, trainer and the process for templates, all of one binary.

use hearth_data::{Message, Renderer, Role};
use serde_json::{Value, json};

use crate::process::Server;

const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}\n\
    {%- if add_generation_prompt %}<|im_start|>assistant: {% endif %}";

#[test]
fn a_template_is_tried_trained_with_stored_and_used_in_chats() {
    let (dir, server) = Server::with_tiny_base();
    let (data, base) = (dir.path().join("data"), dir.path().join("base"));
    let row = |i: usize| {
        json!({"messages": [
            {"role": "user", "content": format!("question {i}")},
            {"role": "assistant", "content": format!("answer {}", i % 3)},
        ]})
    };
    let rows = dir.path().join("rows.jsonl");
    std::fs::write(&rows, (0..30).map(|i| format!("{}\n", row(i))).collect::<String>()).unwrap();
    let created = server.run(&data, &["dataset", "create", "rows", rows.to_str().unwrap()], "");
    assert_eq!(created.code, Some(0), "{}", created.error);

    let jobs = "/v1/accounts/default/supervisedFineTuningJobs";
    let body = |template: &str| {
        json!({
            "dataset": "rows", "baseModel": "tiny", "outputModel": "mine", "jinjaTemplate": template,
            "evalAutoCarveout": true, "earlyStop": true, "samplerCheckpointSaveIntervalSteps": 2,
        })
    };
    for (wrong, part) in [
        ("{% for m in messages %}\n{% if %}", "jinjaTemplate: chat template, line 2: "),
        (
            "{% for m in messages %}{% if m['content'] == 'question 4' %}\n{{ raise_exception('no fours') }}{% endif %}\
             <|im_start|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}\
             {% if add_generation_prompt %}<|im_start|>assistant: {% endif %}",
            "jinjaTemplate: line 5: chat template, line 2: ",
        ),
    ] {
        let (status, answer) = server.post(jobs, &body(wrong));
        let message = answer["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(part), "{message}");
    }
    let (status, job) = server.post(&format!("{jobs}?supervisedFineTuningJobId=j"), &body(TEMPLATE));
    assert_eq!(status, 200, "{job}");
    let waited = server.run(&data, &["sftj", "wait", "j"], "");
    assert_eq!(waited.code, Some(0), "{}{}", waited.out, waited.error);
    let job: Value =
        serde_json::from_str(&server.run(&data, &["sftj", "get", "j", "--json"], "").out).unwrap();
    assert_eq!(job["status"]["message"], "3 rows are set aside for evaluation");
    let progress = &job["jobProgress"];
    assert_eq!((&progress["percent"], &progress["totalInputRequests"]), (&json!(100), &json!(30)));
    assert_eq!(progress["totalProcessedRequests"], 27);

    let events = |more: &[&str]| {
        let shown = server.run(&data, &[&["sftj", "events", "j", "--json"], more].concat(), "");
        assert_eq!(shown.code, Some(0), "{}", shown.error);
        shown.out
    };
    let followed = events(&["--follow"]);
    assert_eq!(followed, events(&[]));
    let followed: Vec<Value> =
        serde_json::Deserializer::from_str(&followed).into_iter().map(Result::unwrap).collect();
    assert_eq!(followed[0]["sequenceNumber"], "1");
    assert_eq!(followed.last().unwrap()["stateChange"]["to"], "JOB_STATE_COMPLETED");

    let stored = std::fs::read_to_string(data.join("models/default/mine/chat_template.jinja")).unwrap();
    assert_eq!(stored, TEMPLATE);
    let tokens = |template: Option<&str>| {
        let renderer = Renderer::open(&base, template).unwrap();
        renderer.prompt(&[Message::new(Role::User, "question 7")], &[]).unwrap().len()
    };
    assert_ne!(tokens(Some(TEMPLATE)), tokens(None));
    for (model, expect) in [
        ("accounts/fireworks/models/tiny", tokens(None)),
        ("accounts/default/models/mine", tokens(Some(TEMPLATE))),
        ("accounts/default/supervisedFineTuningJobs/j/checkpoints/step-2", tokens(Some(TEMPLATE))),
    ] {
        let chat = json!({
            "model": model, "messages": [{"role": "user", "content": "question 7"}], "max_tokens": 2, "temperature": 0,
        });
        let (status, answer) = server.post("/v1/chat/completions", &chat);
        assert_eq!((status, &answer["usage"]["prompt_tokens"]), (200, &json!(expect)), "{model}: {answer}");
    }
}
