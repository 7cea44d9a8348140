//! `hearth sftj create` with the fields that have options, and with others by name.

use serde_json::{Value, json};

use crate::process::Server;

#[test]
fn what_is_given_reaches_the_job_and_an_adapter_is_gone_on_from() {
    let (dir, server) = Server::with_tiny_base();
    let data = dir.path().join("data");
    let row = |i: usize| {
        json!({"messages": [
            {"role": "user", "content": format!("question {i}")},
            {"role": "assistant", "content": format!("answer {}", i % 3)},
        ]})
    };
    let rows = dir.path().join("rows.jsonl");
    std::fs::write(&rows, (0..20).map(|i| format!("{}\n", row(i))).collect::<String>()).unwrap();
    let created = server.run(&data, &["dataset", "create", "rows", rows.to_str().unwrap()], "");
    assert_eq!(created.code, Some(0), "{}", created.error);
    let create = |options: &[&str]| {
        let args = [&["sftj", "create", "--dataset", "rows", "--wait", "--json"], options].concat();
        let answer = server.run(&data, &args, "");
        assert_eq!(answer.code, Some(0), "{}{}", answer.out, answer.error);
    };
    let get = |job: &str| -> Value {
        serde_json::from_str(&server.run(&data, &["sftj", "get", job, "--json"], "").out).unwrap()
    };

    create(&[
        "--base-model=tiny",
        "--job-id=first",
        "--eval-auto-carveout",
        "--early-stop",
        "--lr-scheduler=linear",
        "--sampler-checkpoint-save-interval-steps=2",
        "--field=purpose=PURPOSE_PILOT",
    ]);
    let first = get("first");
    assert_eq!(first["status"]["message"], "2 rows are set aside for evaluation");
    for (field, expect) in [
        ("evalAutoCarveout", json!(true)),
        ("earlyStop", json!(true)),
        ("lrScheduler", json!({"linear": {}})),
        ("samplerCheckpointSaveIntervalSteps", json!(2)),
        ("purpose", json!("PURPOSE_PILOT")),
    ] {
        assert_eq!(first[field], expect, "{field}");
    }

    create(&[
        "--warm-start-from=first",
        "--job-id=second",
        r#"--field=lrScheduler={"cosine":{"minLrRatio":0.5}}"#,
    ]);
    let second = get("second");
    assert_eq!(second["warmStartFrom"], "accounts/default/models/first");
    assert_eq!(second["lrScheduler"]["cosine"]["minLrRatio"], 0.5);
}
