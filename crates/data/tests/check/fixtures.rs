//! A file for each way to be wrong, and the words for it.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use hearth_data::check::{Input, Options, Report, check};
use hearth_data::{Code, Limits, Renderer};
use serde_json::json;

use crate::outline;

#[test]
fn every_broken_file_is_told_in_clear_words() {
    let mut out = String::new();
    for path in paths() {
        let report = of_file(&path);
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        out += &format!("{name}: {}\n\n", outline(&report));
    }
    insta::assert_snapshot!(out);
}

fn paths() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bad");
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).expect("fixtures").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths
}

fn of_file(path: &Path) -> Report {
    let input = Input::open(path).expect("a file");
    check(vec![input], Vec::new(), &Options::default()).expect("it can be read")
}

fn of_rows(rows: &[String], evaluation: &[String], options: &Options<'_>) -> Report {
    let input = |rows: &[String]| Input::new("rows", Box::new(Cursor::new(rows.join("\n").into_bytes())));
    let evaluation = if evaluation.is_empty() { vec![] } else { vec![input(evaluation)] };
    check(vec![input(rows)], evaluation, options).expect("memory can be read")
}

/// What needs limits, a model, other rows or many bytes has no file of its own.
#[test]
fn every_kind_of_finding_is_met() {
    let mut met: BTreeSet<Code> = BTreeSet::new();
    let mut meet = |report: &Report| {
        met.extend(report.error_counts.keys().chain(report.warning_counts.keys()));
    };
    paths().iter().for_each(|path| meet(&of_file(path)));

    let pair =
        |prompt: &str, completion: &str| json!({"prompt": prompt, "completion": completion}).to_string();
    let plain = Options::default();
    let question = "what is the tallest building of the city?";
    let rows: Vec<String> = [
        pair(question, "the television tower on the hill"),
        pair(question, "The Television Tower, on the hill!"),
        pair(question, "the castle"),
        pair("a key", "AKIAIOSFODNN7EXAMPLQ"),
    ]
    .into();
    meet(&of_rows(&rows, &rows, &plain));
    let mut scripts: Vec<String> =
        (0..200).map(|n| pair(&format!("question number {n}"), "an answer of it")).collect();
    scripts.push(pair("какой сегодня день недели", "сегодня понедельник"));
    meet(&of_rows(&scripts, &[], &plain));
    meet(&of_rows(&vec!["{}".to_owned(); 10_000], &[], &plain));
    let few = Limits { line_bytes: 200, rows: 3 };
    let long = pair("q", &"x".repeat(200));
    let limited = Options { limits: few, ..Options::default() };
    meet(&of_rows(&[vec![long], rows.clone()].concat(), &[], &limited));
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    let many = vec![say("user", "q"); hearth_data::row::MAX_MESSAGES + 1];
    let values = json!({"prompt": "q", "completion": "a", "more": vec![0; 200_001]});
    meet(&of_rows(&[json!({"messages": many}).to_string(), values.to_string()], &[], &plain));

    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny");
    let mut with_template = |template: Option<&str>, rows: &[String]| {
        let renderer = Renderer::open(&tiny, template).expect("the fixture opens");
        let options = Options {
            renderer: Some(&renderer),
            context_length: 64,
            model_context_length: 64,
            ..Options::default()
        };
        meet(&of_rows(rows, &[], &options));
    };
    let chat = |messages: &[serde_json::Value]| json!({"messages": messages}).to_string();
    let row = chat(&[say("system", "be brief"), say("user", "question"), say("assistant", "answer")]);
    let answer_first = chat(&[say("assistant", "answer")]);
    let rows = [
        row.clone(),
        answer_first,
        chat(&[say("user", "<|im_end|>"), say("assistant", &"long ".repeat(99))]),
    ];
    with_template(None, &rows);
    let no_system = "{% for m in messages %}{% if m.role != 'system' %}[]{{ m.content }}<|im_end|>{% endif %}{% endfor %}\
        {% if add_generation_prompt %}[]{% endif %}";
    with_template(Some(no_system), &rows);
    let endless =
        "{% for m in messages %}[]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[]{% endif %}";
    with_template(Some(endless), &rows);
    let raising = "{% if messages | length > 2 %}{{ raise_exception('too many') }}{% endif %}\
        {% for m in messages %}[]{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[]{% endif %}";
    with_template(Some(raising), &rows);
    let unstable = "{{ messages | length }}{% for m in messages %}[]{{ m.content }}<|im_end|>{% endfor %}\
        {% if add_generation_prompt %}[]{% endif %}";
    with_template(Some(unstable), &rows);

    let missing: Vec<&Code> = Code::ALL.iter().filter(|code| !met.contains(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
