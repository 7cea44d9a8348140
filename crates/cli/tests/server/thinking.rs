//! What becomes of the thoughts of earlier answers, from the request to the model's template.

use std::path::Path;

use serde_json::json;

use crate::process::{Server, hearth, run};

/// Writes all thoughts, wherever they stand.
const KEEPS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn rows() -> String {
    let row = |i: usize| {
        json!({"messages": [
            {"role": "user", "content": format!("q {i}")},
            {"role": "assistant", "content": "a", "reasoning_content": "hm"},
            {"role": "user", "content": "r"},
            {"role": "assistant", "content": "b", "reasoning_content": "so"},
        ]})
    };
    (0..6).map(|i| format!("{}\n", row(i))).collect()
}

#[test]
fn the_history_of_thoughts_reaches_the_trainer_and_the_model() {
    let (dir, server) = Server::with_tiny_base();
    let (data, base) = (dir.path().join("data"), dir.path().join("base"));
    let file = dir.path().join("rows.jsonl");
    std::fs::write(&file, rows()).unwrap();
    let created = server.run(&data, &["dataset", "create", "rows", file.to_str().unwrap()], "");
    assert_eq!(created.code, Some(0), "{}", created.error);
    let samples = |job: &str, mode: &str| {
        let template = format!("jinjaTemplate={KEEPS}");
        let mode = format!("thinkingTraceHistoryMode=THINKING_TRACE_HISTORY_MODE_{mode}");
        let id = format!("--job-id={job}");
        let args =
            ["sftj", "create", "--dataset=rows", "--base-model=tiny", "--wait", &id, "--field", &template];
        let answer = server.run(&data, &[&args[..], &["--field", &mode]].concat(), "");
        assert_eq!(answer.code, Some(0), "{}{}", answer.out, answer.error);
        let model = data.join("models/default").join(job);
        let card = std::fs::read_to_string(model.join("README.md")).unwrap();
        let count =
            card.lines().find_map(|line| line.strip_prefix("| training samples | ")).unwrap().to_owned();
        (count, std::fs::read_to_string(model.join("chat_template.jinja")).unwrap())
    };
    // All thoughts stay in one sample; left out, each answer is learnt in its own.
    assert_eq!(samples("kept", "PRESERVED"), ("6 |".to_owned(), KEEPS.to_owned()));
    let (count, template) = samples("left-out", "INTERLEAVED");
    assert_eq!(count, "12 |");
    assert!(template.ends_with(KEEPS) && template.len() > KEEPS.len(), "{template}");
    // What is shown before training is the same.
    let shown = |template: &str| {
        let path = dir.path().join("template.jinja");
        std::fs::write(&path, template).unwrap();
        render(&data, &file, &base, &["--template", path.to_str().unwrap(), "--rows", "1"])
    };
    assert_eq!(shown(KEEPS).matches("sample ").count(), 1);
    let two = shown(&template);
    assert!(two.contains("⟦<think>so</think>b<|im_end|>⟧") && two.contains("sample 2 of 2"), "{two}");
}

fn render(data: &Path, file: &Path, base: &Path, options: &[&str]) -> String {
    let mut command = hearth(data);
    command.args(["dataset", "render"]).arg(file).arg("--model").arg(base).args(options);
    let answer = run(&mut command, "");
    assert_eq!(answer.code, Some(0), "{}", answer.error);
    answer.out
}
