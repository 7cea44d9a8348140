//! What is shown of rows before they are trained on is what the trainer says of them, and models say which rows they saw.

use std::path::Path;

use hearth_data::Sample;
use hearth_run::ledger::{Entry, LedgerReader, RowDigest, Usage};
use hearth_train::digest;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::process::{Server, hearth, run};

/// Shows tools, writes the thoughts of the last answer alone, and can be told not to think.
const TEMPLATE: &str = "\
{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}\
{% for m in messages %}<|im_start|>{{ m.role }}\n\
{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.reasoning_content | default('', true) }}\n</think>\n\n{% endif %}\
{{ m.content }}{% for call in m.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant\n\
{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}";
/// Longest sample of the jobs, in tokens; some rows are longer.
const CONTEXT: usize = 256;
/// Most rows on a page of the preview.
const PAGE: usize = 50;

/// Words without white space at their ends, which a template may take away.
fn text() -> impl Strategy<Value = String> {
    let long = Just("very ".repeat(60) + "long");
    prop_oneof![8 => "[a-z]{1,9}( [0-9é🦀,]{1,4}[a-z])?".prop_map(String::from), 1 => long]
}

fn turn() -> impl Strategy<Value = Vec<Value>> {
    let answer = (text(), proptest::option::of(text()), any::<bool>(), any::<bool>());
    (text(), answer).prop_map(|(question, (answer, thoughts, calls, is_learnt))| {
        let mut messages = vec![json!({"role": "user", "content": question})];
        let mut message = json!({"role": "assistant", "content": answer, "weight": u8::from(is_learnt)});
        if calls {
            message["content"] = Value::Null;
            message["tool_calls"] = json!([{"id": "1", "type": "function",
                "function": {"name": "look", "arguments": "{\"b\": 1.0, \"a\": [null, \"x\"]}"}}]);
            let answered = json!({"role": "tool", "tool_call_id": "1", "content": "grey"});
            messages.extend([message, answered]);
            message = json!({"role": "assistant", "content": "grey", "weight": 1});
        }
        if let Some(thoughts) = thoughts {
            message["reasoning_content"] = json!(thoughts);
        }
        messages.push(message);
        messages
    })
}

fn chat_row() -> impl Strategy<Value = Value> {
    (proptest::collection::vec(turn(), 1..4), 1..40u32, any::<bool>()).prop_map(
        |(turns, weight, has_tools)| {
            let mut messages: Vec<Value> = turns.concat();
            messages.last_mut().unwrap()["weight"] = json!(1);
            let calls = messages.iter().any(|message| message.get("tool_calls").is_some());
            let mut row = json!({"messages": messages, "weight": f64::from(weight) / 8.0});
            if calls || has_tools {
                row["tools"] = json!([{"type": "function", "function":
                {"name": "look", "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}}}]);
            }
            row
        },
    )
}

fn completion_row() -> impl Strategy<Value = Value> {
    prop_oneof![
        (text(), text()).prop_map(|(prompt, completion)| json!({"prompt": prompt, "completion": completion})),
        text().prop_map(|text| json!({"text": text})),
    ]
}

/// So many rows as lines, some of them blank, some with white space around them.
fn lines(runner: &mut TestRunner, row: impl Strategy<Value = Value>, count: usize) -> Vec<String> {
    let line = (row, 0..4u8).prop_map(|(row, form)| match form {
        0 => format!("  {row} \t"),
        1 => format!("{row}\r"),
        2 => format!("\n{row}"),
        _ => row.to_string(),
    });
    let all = proptest::collection::vec(line, count).new_tree(runner).unwrap().current();
    all.join("\n").split('\n').map(str::to_owned).collect()
}

fn ledger(data: &Path, model: &str) -> Vec<Entry> {
    let path = data.join("models/default").join(model).join("ledger.jsonl.zst");
    LedgerReader::open(&path).unwrap().map(Result::unwrap).collect()
}

/// The samples of a row, as the preview shows them.
fn samples(example: &Value) -> Vec<Sample> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let datums = list(&example["renderings"]).into_iter().flat_map(|one| list(&one["renderedDatums"]));
    datums
        .map(|datum| {
            let (mut tokens, mut weights) = (Vec::new(), Vec::new());
            for segment in list(&datum["segments"]) {
                for id in list(&segment["tokenIds"]) {
                    tokens.push(u32::try_from(id.as_u64().unwrap()).unwrap());
                    weights.push(segment["lossWeight"].as_f64().unwrap() as f32);
                }
            }
            let sample = Sample { line: 1, tokens, weights };
            assert_eq!(datum["tokenCount"], sample.tokens.len());
            assert_eq!(datum["trainedTokenCount"], sample.trained_tokens());
            sample
        })
        .collect()
}

fn previews(server: &Server, dataset: &str) -> Vec<Value> {
    let path = format!("/v1/accounts/default/datasets/{dataset}:renderPreview");
    let (mut examples, mut token) = (Vec::new(), json!(""));
    loop {
        let body = json!({
            "baseModel": "tiny", "jinjaTemplate": TEMPLATE, "contextLength": CONTEXT, "pageSize": PAGE, "pageToken": token,
        });
        let (status, page) = server.post(&path, &body);
        assert_eq!(status, 200, "{page}");
        examples.extend(page["examples"].as_array().unwrap().iter().cloned());
        token = page["nextPageToken"].clone();
        if token == "" {
            return examples;
        }
    }
}

fn seen(server: &Server, data: &Path, args: &[&str]) -> Vec<Value> {
    let answer = server.run(data, &[&["dataset", "seen"], args, &["--json"]].concat(), "");
    assert_eq!(answer.code, Some(0), "{}", answer.error);
    let found: Value = serde_json::from_str(&answer.out).unwrap();
    found["uses"].as_array().unwrap().clone()
}

fn train(server: &Server, data: &Path, dataset: &str, model: &str, more: &[&str]) {
    let dataset = format!("--dataset={dataset}");
    let (id, context) = (format!("--job-id={model}"), format!("maxContextLength={CONTEXT}"));
    let template = format!("jinjaTemplate={TEMPLATE}");
    let args = [
        "sftj",
        "create",
        &dataset,
        "--base-model=tiny",
        "--epochs=1",
        "--wait",
        &id,
        "--field",
        &context,
        "--field",
        &template,
    ];
    let answer = server.run(data, &[&args[..], more].concat(), "");
    assert_eq!(answer.code, Some(0), "{}{}", answer.out, answer.error);
}

#[test]
fn the_preview_shows_what_the_trainer_makes_of_random_rows() {
    let (dir, server) = Server::with_tiny_base();
    let data = dir.path().join("data");
    let mut runner = TestRunner::deterministic();
    let (mut several, mut dropped) = (0, 0);
    for number in 0..3 {
        let lines = match number {
            2 => lines(&mut runner, completion_row(), 30),
            _ => lines(&mut runner, chat_row(), 30),
        };
        let name = format!("rows-{number}");
        let file = dir.path().join(format!("{name}.jsonl{}", if number == 1 { ".zst" } else { "" }));
        let text = lines.join("\n");
        let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
        std::fs::write(&file, if number == 1 { packed } else { text.into_bytes() }).unwrap();
        let created = server.run(&data, &["dataset", "create", &name, file.to_str().unwrap()], "");
        assert_eq!(created.code, Some(0), "{}", created.error);
        train(&server, &data, &name, &name, &[]);
        let (entries, examples) = (ledger(&data, &name), previews(&server, &name));
        assert_eq!(entries.len(), examples.len());
        for (entry, example) in entries.iter().zip(&examples) {
            let samples = samples(example);
            assert_eq!(example["line"], entry.line.to_string());
            let line = &lines[entry.line as usize - 1];
            assert_eq!(entry.row, RowDigest::of(line.trim().as_bytes()));
            assert_eq!(entry.samples as usize, samples.len());
            let tokens: usize = samples.iter().map(|sample| sample.tokens.len()).sum();
            let trained: usize = samples.iter().map(Sample::trained_tokens).sum();
            assert_eq!((entry.tokens as usize, entry.trained_tokens as usize), (tokens, trained));
            assert_eq!(entry.digest, (!samples.is_empty()).then(|| digest::row(&samples)));
            assert_eq!(entry.usage == Usage::Dropped, samples.is_empty());
            assert_eq!(entry.too_long > 0, example["droppedReason"] != "", "{}", example["droppedReason"]);
            several += u32::from(entry.samples > 1);
            dropped += u32::from(entry.usage == Usage::Dropped);
        }
    }
    assert!(several > 0 && dropped > 0, "{several} rows of several samples, {dropped} dropped");
}

#[test]
fn models_tell_which_rows_they_saw() {
    let (dir, server) = Server::with_tiny_base();
    let data = dir.path().join("data");
    let lines: Vec<String> = (0..30)
        .map(|i| {
            let question = if i == 7 { "long ".repeat(300) } else { format!("question {i}") };
            json!({"messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": "answer"},
            ]})
            .to_string()
        })
        .collect();
    let file = dir.path().join("rows.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let path = file.to_str().unwrap();
    let created = server.run(&data, &["dataset", "create", "rows", path], "");
    assert_eq!(created.code, Some(0), "{}", created.error);
    assert_eq!(seen(&server, &data, &[path, "--line", "3"]), Vec::<Value>::new());
    train(&server, &data, "rows", "plain", &["--field", "samplerCheckpointSaveIntervalSteps=1"]);
    train(&server, &data, "rows", "carved", &["--eval-auto-carveout"]);

    let entries = ledger(&data, "carved");
    let carved = entries.iter().find(|entry| entry.usage == Usage::CarvedOut).expect("rows are set aside");
    let uses = |found: &[Value]| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut uses: Vec<_> = found.iter().map(|one| (text(&one["model"]), text(&one["use"]))).collect();
        uses.sort();
        uses
    };
    let name = |id: &str| format!("accounts/default/models/{id}");
    let expect = |carved: &str, plain: &str| {
        vec![(name("carved"), carved.to_owned()), (name("plain"), plain.to_owned())]
    };
    let line = carved.line.to_string();
    assert_eq!(uses(&seen(&server, &data, &[path, "--line", &line])), expect("CARVED_OUT", "TRAIN"));
    assert_eq!(
        uses(&seen(&server, &data, &["--digest", &carved.row.to_string()])),
        expect("CARVED_OUT", "TRAIN")
    );
    assert_eq!(uses(&seen(&server, &data, &[path, "--line", "8"])), expect("DROPPED", "DROPPED"));
    let shown = server.run(&data, &["dataset", "seen", path, "--line", "8"], "");
    assert!(
        shown.out.contains("DROPPED  file 1, line 8  accounts/default/supervisedFineTuningJobs/plain"),
        "{}",
        shown.out
    );

    // By the dataset on the server, a page at a time.
    let by_line = format!("/v1/accounts/default/models:findByRow?dataset=rows&line={line}");
    let (mut found, mut token) = (Vec::new(), String::new());
    for _ in 0..2 {
        let (status, page) = server.bare("GET", &format!("{by_line}&pageSize=1&pageToken={token}"));
        assert_eq!((status, &page["rowDigest"]), (200, &json!(carved.row.to_string())), "{page}");
        found.extend(page["uses"].as_array().unwrap().iter().cloned());
        token = page["nextPageToken"].as_str().unwrap().to_owned();
    }
    assert_eq!(token, "");
    assert_eq!(uses(&found), expect("CARVED_OUT", "TRAIN"));
    for (query, part) in [
        ("", "rowDigest: is required"),
        ("rowDigest=xyz", "rowDigest: is not 32 hexadecimal digits"),
        ("dataset=rows", "line: 0 is not a line"),
        ("dataset=rows&line=31", "line: there is no row on line 31"),
        ("dataset=rows&line=1&rowDigest=00", "does not go with"),
    ] {
        let (status, answer) = server.bare("GET", &format!("/v1/accounts/default/models:findByRow?{query}"));
        let message = answer["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(part), "{query}: {message}");
    }
    assert_eq!(server.bare("GET", "/v1/accounts/default/models:findByRow?dataset=none&line=1").0, 404);

    // The ledger itself, without a server.
    let rows = |args: &[&str]| {
        let answer = run(hearth(&data).args(["model", "rows"]).args(args), "");
        assert_eq!(answer.code, Some(0), "{}", answer.error);
        answer.out
    };
    let text = rows(&["plain", "--use", "dropped"]);
    let mut shown = text.lines();
    assert_eq!(
        shown.next(),
        Some(
            "30 rows: 29 trained on, 0 scored of evaluation files, 0 set aside, 1 left out as longer than 256 tokens"
        )
    );
    let digest = RowDigest::of(lines[7].as_bytes());
    assert_eq!(
        shown.next().unwrap(),
        format!("rows.jsonl:8  {digest}  dropped (too_long)  samples 0, 1 left out  tokens 0, trained 0")
    );
    assert_eq!(shown.next(), None);
    let lines: Vec<Value> =
        rows(&[&name("plain"), "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["counts"]["train"]), (31, &json!(29)));
    let model_dir = data.join("models/default/plain");
    assert_eq!(rows(&[model_dir.to_str().unwrap(), "--json"]).lines().count(), 31);
    let missing = run(hearth(&data).args(["model", "rows", "accounts/fireworks/models/tiny"]), "");
    assert!(missing.code == Some(1) && missing.error.contains("has no ledger"), "{}", missing.error);

    // A model of a checkpoint has the ledger, the facts and the template of its run.
    let checkpoints = "/v1/accounts/default/supervisedFineTuningJobs/plain/checkpoints";
    let (_, listed) = server.bare("GET", checkpoints);
    let names = listed["checkpoints"].as_array().unwrap_or_else(|| panic!("{listed}"));
    let named = names.iter().map(|one| one["name"].as_str().unwrap());
    let steps = named.filter_map(|name| Some((name.rsplit_once('-')?.1.parse::<u64>().ok()?, name)));
    let (step, checkpoint) = steps.filter(|(step, _)| *step > 0).min().unwrap_or_else(|| panic!("{listed}"));
    let (status, promoted) =
        server.post(&format!("/v1/{checkpoint}:promote"), &json!({"outputModel": "promoted"}));
    assert_eq!(status, 200, "{promoted}");
    let read =
        |model: &str, file: &str| std::fs::read(data.join("models/default").join(model).join(file)).unwrap();
    assert_eq!(read("promoted", "chat_template.jinja"), read("plain", "chat_template.jinja"));
    for model in ["plain", "promoted"] {
        let lines = zstd::decode_all(read(model, "ledger.jsonl.zst").as_slice()).unwrap();
        let facts: hearth_run::Facts = serde_json::from_slice(&read(model, "hearth.json")).unwrap();
        assert_eq!(facts.ledger_sha256, digest::text(std::str::from_utf8(&lines).unwrap()), "{model}");
        let path = data.join("models/default").join(model).join("ledger.jsonl.zst");
        assert_eq!(LedgerReader::open(&path).unwrap().header().step, facts.step, "{model}");
    }
    // What the checkpoint had not come to, it does not claim.
    let expect = |entry: Entry| match entry.usage {
        Usage::Train if entry.step.unwrap() > step => Entry { usage: Usage::NotReached, ..entry },
        _ => entry,
    };
    let of_the_run: Vec<Entry> = ledger(&data, "plain").into_iter().map(expect).collect();
    let promoted = ledger(&data, "promoted");
    assert_eq!(promoted, of_the_run);
    let unseen =
        promoted.iter().find(|entry| entry.usage == Usage::NotReached).expect("it is of the first step");
    let digest = unseen.row.to_string();
    let found = uses(&seen(&server, &data, &["--digest", &digest]));
    assert!(found.contains(&(name("promoted"), "NOT_REACHED".to_owned())), "{found:?}");
    let text = rows(&["promoted", "--use", "not-reached"]);
    assert!(text.contains(" not reached by step 1,") && text.contains(&digest), "{text}");
    // No answer has thoughts, so whoever asks for none is given the prompt that was trained.
    let template = String::from_utf8(read("plain", "chat_template.jinja")).unwrap();
    assert!(template != TEMPLATE && template.ends_with(TEMPLATE), "{template}");
    let chat = |model: &str| {
        let chat = json!({
            "model": name(model), "messages": [{"role": "user", "content": "q"}], "max_tokens": 1, "temperature": 0,
        });
        let (status, answer) = server.post("/v1/chat/completions", &chat);
        assert_eq!(status, 200, "{answer}");
        answer["usage"]["prompt_tokens"].as_u64().unwrap() as usize
    };
    let renderer = hearth_data::Renderer::open(&dir.path().join("base"), Some(TEMPLATE)).unwrap();
    let question = [hearth_data::Message::new(hearth_data::Role::User, "q")];
    let without_thoughts = renderer.prompt_without_thoughts(&question, &[]).unwrap().len();
    assert_eq!((chat("plain"), chat("promoted")), (without_thoughts, without_thoughts));

    // It goes with its model.
    assert_eq!(server.bare("DELETE", &format!("/v1/{}", name("plain"))).0, 200);
    assert!(!model_dir.exists());
    let left = uses(&seen(&server, &data, &[path, "--line", &line]));
    let models: Vec<String> = left.into_iter().map(|(model, _)| model).collect();
    assert_eq!(models, [name("carved"), name("promoted")]);
}
