//! The ledger says what became of each row, and the adapter's directory gives the prompts that were trained.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use flate2::Compression;
use flate2::write::GzEncoder;
use hearth_data::{Message, Renderer, Role, RowReader, source};
use hearth_run::ledger::{Entry, Header, LEDGER_FILE, LedgerReader, Part, Reason, RowDigest, Usage};
use hearth_run::{DataOrigin, EarlyStop, EventKind, Facts, FailureKind, JobSpec};
use hearth_train::inputs::Inputs;
use hearth_train::plan::Plan;
use hearth_train::serving::prove;
use hearth_train::{digest, run};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::json;

use crate::fixture::{Ended, Fixture, row};

/// Shows tools, writes thoughts of the last answer alone, and can be told not to think.
const THINKING: &str = "\
{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}\
{% for m in messages %}<|im_start|>{{ m.role }}\n\
{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.reasoning_content | default('', true) }}\n</think>\n\n{% endif %}\
{{ m.content }}{% for call in m.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant\n\
{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}";

fn ledger(ended: &Ended) -> (Header, Vec<Entry>) {
    read(&ended.dir.ledger_path())
}

fn read(path: &Path) -> (Header, Vec<Entry>) {
    let reader = LedgerReader::open(path).unwrap();
    (reader.header().clone(), reader.map(Result::unwrap).collect())
}

fn facts(dir: &Path) -> Facts {
    Facts::read(dir).unwrap().expect("there are facts")
}

fn gzip(path: &Path, text: &str) {
    let mut encoder = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap();
}

/// A row of several turns, with tools, thoughts and weights as chance has it. Some are too long.
fn random_row(rng: &mut ChaCha8Rng) -> String {
    let mut chance = |of: u32| rng.next_u32().is_multiple_of(of);
    let mut messages = Vec::new();
    let has_tools = chance(3);
    if chance(2) {
        messages.push(json!({"role": "system", "content": "be brief"}));
    }
    for _ in 0..if chance(2) { 1 } else { 3 } {
        let long = if chance(8) { "very ".repeat(120) } else { "  ".to_owned() };
        messages.push(json!({"role": "user", "content": format!("which{long}colour")}));
        let mut answer = json!({"role": "assistant", "content": "a\tblue é one"});
        if chance(3) {
            answer["reasoning_content"] = json!("the sky");
        }
        if has_tools && chance(2) {
            answer["content"] = json!("");
            answer["tool_calls"] = json!([{"id": "1", "type": "function",
                "function": {"name": "look", "arguments": "{\"b\": 1, \"a\": [2.50]}"}}]);
            messages.push(answer);
            messages.push(json!({"role": "tool", "tool_call_id": "1", "content": "grey"}));
            answer = json!({"role": "assistant", "content": "grey", "weight": u8::from(chance(2))});
        }
        messages.push(answer);
    }
    messages.last_mut().unwrap()["weight"] = json!(1);
    let mut row = json!({"messages": messages, "weight": if chance(2) { 1.0 } else { 2.5 }});
    if has_tools {
        row["tools"] =
            json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]);
    }
    let row = row.to_string();
    if chance(2) { format!("  {row}\t") } else { row }
}

#[test]
fn each_row_stands_in_the_ledger_as_it_is_rendered() {
    for seed in 0..2 {
        let fixture = Fixture::new();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut text = |rows: u32| {
            let rows: Vec<String> = (0..rows).map(|_| random_row(&mut rng)).collect();
            format!("\u{feff}{}\r\n\n", rows.join("\n"))
        };
        fs::write(fixture.path("a.jsonl"), text(20)).unwrap();
        gzip(&fixture.path("b.jsonl.gz"), &text(20));
        fs::write(fixture.path("c.jsonl.zst"), zstd::encode_all(text(12).as_bytes(), 1).unwrap()).unwrap();
        gzip(&fixture.path("e.jsonl.gz"), &text(9));
        let is_carved = seed % 2 == 0;
        let job = JobSpec {
            train_files: ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst"].map(|name| fixture.path(name)).to_vec(),
            eval_files: if is_carved { vec![] } else { vec![fixture.path("e.jsonl.gz")] },
            eval_carveout: is_carved,
            chat_template: Some(THINKING.to_owned()),
            max_context_length: 300,
            epochs: 1,
            ..fixture.job()
        };
        let ended = fixture.run("run", &job);
        let output = ended.output();
        let (header, entries) = ledger(&ended);
        let renderer = Renderer::open(&job.base_model_dir, Some(THINKING)).unwrap();
        let mut found = entries.iter();
        for (number, path) in job.train_files.iter().chain(&job.eval_files).enumerate() {
            let text = std::io::read_to_string(source::open(path).unwrap()).unwrap();
            let lines: Vec<&str> = text.trim_start_matches('\u{feff}').split('\n').collect();
            for row in RowReader::new(source::open(path).unwrap()) {
                let row = row.unwrap();
                let rendered = renderer.render(&row, 300).unwrap();
                let entry = found.next().unwrap();
                let samples = &rendered.samples;
                assert_eq!((entry.file as usize, entry.line), (number, row.line));
                assert_eq!(entry.row, RowDigest::of(lines[row.line as usize - 1].trim().as_bytes()));
                assert_eq!(entry.samples as usize, samples.len());
                assert_eq!(entry.too_long as usize, rendered.too_long.len());
                let tokens: usize = samples.iter().map(|sample| sample.tokens.len()).sum();
                let trained: usize = samples.iter().map(|sample| sample.trained_tokens()).sum();
                assert_eq!((entry.tokens as usize, entry.trained_tokens as usize), (tokens, trained));
                let is_used = !samples.is_empty();
                assert_eq!(entry.digest, is_used.then(|| digest::row(samples)));
                assert_eq!(entry.why, (!is_used).then_some(Reason::TooLong));
                assert_eq!(entry.usage == Usage::Dropped, !is_used);
                if is_used {
                    assert_eq!(entry.usage == Usage::Eval, number == 3);
                }
            }
        }
        assert_eq!(found.next(), None);

        let Some(EventKind::Validated {
            rows,
            samples,
            dropped_too_long,
            tokens_per_epoch,
            trained_tokens_per_epoch,
            eval_carved_out,
            eval_rows,
            ledger_sha256: planned_sha256,
            ..
        }) = ended
            .events
            .iter()
            .map(|event| &event.kind)
            .find(|kind| matches!(kind, EventKind::Validated { .. }))
        else {
            panic!("a run tells of its rows");
        };
        let counts = header.counts;
        assert_eq!(counts.rows, entries.len() as u64);
        assert_eq!((counts.train_samples, counts.train_tokens), (*samples, *tokens_per_epoch));
        assert_eq!((counts.trained_tokens, counts.carved_out), (*trained_tokens_per_epoch, *eval_carved_out));
        if is_carved {
            assert_eq!(counts.dropped_too_long, *dropped_too_long);
            assert_eq!(counts.train + counts.carved_out + counts.dropped_too_long, *rows);
        } else {
            assert!(counts.eval > 0 && counts.eval <= *eval_rows);
        }
        assert!(
            counts.dropped_too_long > 0 && counts.samples_too_long > counts.dropped_too_long,
            "{counts:?}"
        );
        assert!(entries.iter().any(|entry| entry.samples > 1), "rows make several samples");

        for (file, path) in header.files.iter().zip(job.train_files.iter().chain(&job.eval_files)) {
            assert_eq!(file.sha256, digest::file(path).unwrap());
            assert_eq!(file.part == Part::Eval, file.name == "e.jsonl.gz");
        }
        // The whole epoch was done, so the adapter's ledger says the same of its step.
        let dir = ended.dir.output_path();
        let EventKind::Finished { step, .. } = *ended.last() else { panic!("{:?}", ended.last()) };
        let expect = (Header { step: Some(step), ..header.clone() }, entries.clone());
        assert_eq!(read(&dir.join(LEDGER_FILE)), expect);
        let ledger_sha256 = facts(&dir).ledger_sha256;
        let lines = zstd::decode_all(fs::File::open(dir.join(LEDGER_FILE)).unwrap()).unwrap();
        assert_eq!(ledger_sha256, digest::text(std::str::from_utf8(&lines).unwrap()));
        assert_eq!(facts(&ended.dir.serving_path()).ledger_sha256, *planned_sha256);
        let card = fs::read_to_string(dir.join("README.md")).unwrap();
        for line in [
            format!("| read | {} |", counts.rows),
            format!("| trained on | {} |", counts.train),
            format!("| left out, longer than 300 tokens | {} |", counts.dropped_too_long),
            format!("| lines of the ledger | {ledger_sha256} |"),
            format!("| data file b.jsonl.gz | {} |", header.files[1].sha256),
        ] {
            assert!(card.contains(&line), "{line}\n{card}");
        }
        assert!(output.contains_key(LEDGER_FILE));
    }
}

/// All samples of a row go the same way.
#[test]
fn rows_that_are_set_aside_go_whole() {
    let fixture = Fixture::new();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let rows: Vec<String> = (0..60).map(|_| random_row(&mut rng)).collect();
    fixture.write_rows("train.jsonl", &rows);
    let job = JobSpec {
        eval_files: vec![],
        eval_carveout: true,
        chat_template: Some(THINKING.to_owned()),
        ..fixture.job()
    };
    let ended = fixture.run("run", &JobSpec { epochs: 1, ..job.clone() });
    ended.output();
    let inputs = Inputs::read(job, 0, &AtomicBool::new(false)).unwrap();
    let (_, entries) = ledger(&ended);
    let mut several = 0;
    for entry in &entries {
        let (train, eval) = (inputs.train.of_row(0, entry.line), inputs.eval.of_row(0, entry.line));
        let expect = match entry.usage {
            Usage::Train => (entry.samples as usize, 0),
            Usage::CarvedOut => {
                several += u32::from(entry.samples > 1);
                (0, entry.samples as usize)
            }
            Usage::Dropped | Usage::Eval | Usage::NotReached => (0, 0),
        };
        assert_eq!((train.len(), eval.len()), expect, "line {}", entry.line);
    }
    assert!(several > 0, "no row of several samples is set aside: {entries:?}");
}

fn chat(thoughts: Option<&str>) -> String {
    let mut answer = json!({"role": "assistant", "content": "blue"});
    if let Some(thoughts) = thoughts {
        answer["reasoning_content"] = json!(thoughts);
    }
    json!({"messages": [{"role": "user", "content": "sky"}, answer]}).to_string()
}

/// What a server gives that opens the output.
fn prompt_of(ended: &Ended) -> String {
    let renderer = Renderer::open(&ended.dir.output_path(), None).unwrap();
    let ids = renderer.prompt(&[Message::new(Role::User, "sky")], &[]).unwrap();
    renderer.tokenizer().decode(&ids, false).unwrap()
}

#[test]
fn who_learnt_no_thoughts_is_not_asked_for_them() {
    let fixture = Fixture::new();
    let open = "<|im_start|>user\nsky<|im_end|>\n<|im_start|>assistant\n";
    let told = format!("{open}<think>\n\n</think>\n\n");
    let job =
        JobSpec { chat_template: Some(THINKING.to_owned()), eval_files: vec![], epochs: 1, ..fixture.job() };
    let cases = [
        ("none", vec![chat(None); 4], told.as_str()),
        ("all", vec![chat(Some("it is")); 4], open),
        // Whoever wants none says so.
        ("some", vec![chat(None), chat(Some("it is")), chat(None)], open),
        // No conversation at all says nothing of conversations.
        ("text", vec![json!({"prompt": "sky", "completion": "blue"}).to_string(); 4], open),
    ];
    for (name, rows, expect) in cases {
        fixture.write_rows("train.jsonl", &rows);
        let ended = fixture.run(name, &job);
        ended.output();
        assert_eq!(prompt_of(&ended), expect, "{name}");
        let template = fs::read_to_string(ended.dir.output_path().join("chat_template.jinja")).unwrap();
        assert_eq!(template == THINKING, name != "none");
        assert_eq!(hearth_data::template::as_given(&template), THINKING);
        let facts = facts(&ended.dir.output_path());
        assert_eq!(facts.chat_template_sha256, Some(digest::text(&template)));
        let (header, _) = ledger(&ended);
        assert_eq!(header.template_sha256, facts.chat_template_sha256);
        assert_eq!(header.base_sha256, facts.base_sha256);
        let tokenizer = digest::file(&job.base_model_dir.join("tokenizer.json")).unwrap();
        let config = digest::file_if_there(&job.base_model_dir.join("tokenizer_config.json")).unwrap();
        assert_eq!(
            (&header.tokenizer_sha256, &facts.tokenizer_sha256),
            (&Some(tokenizer.clone()), &Some(tokenizer))
        );
        assert_eq!((&header.tokenizer_config_sha256, &facts.tokenizer_config_sha256), (&config, &config));
    }
}

#[test]
fn other_prompts_than_those_that_are_trained_are_found() {
    let fixture = Fixture::new();
    let job = JobSpec { epochs: 1, ..fixture.job() };
    let ended = fixture.run("run", &job);
    ended.output();
    let inputs = Inputs::read(job, 0, &AtomicBool::new(false)).unwrap();
    let dir = ended.dir.output_path();
    prove(&dir, &inputs).unwrap();
    let path = dir.join("chat_template.jinja");
    let template = fs::read_to_string(&path).unwrap();
    fs::write(&path, template.replace("'<|im_start|>assistant\n'", "'<|im_start|>assistant: '")).unwrap();
    let error = prove(&dir, &inputs).unwrap_err();
    assert_eq!(error.failure_kind(), FailureKind::Internal);
    let expect = "the adapter would not be asked as it is trained: the prompt that a server will give for an answer of \
                  line 1 is not what the row's tokens begin with";
    assert_eq!(error.to_string(), expect);
}

/// The adapter of a step inside the first epoch has seen the rows of the steps up to it, and no other.
#[test]
fn rows_that_the_adapter_never_saw_are_not_claimed() {
    let fixture = Fixture::new();
    let job = JobSpec {
        epochs: 1,
        eval_interval_steps: 2,
        // The second evaluation is too small a gain.
        early_stop: Some(EarlyStop { patience: 1, min_gain: 0.9 }),
        ..fixture.job()
    };
    let ended = fixture.run("run", &job);
    ended.output();
    let EventKind::Finished { step: 4, best_step: Some(best), .. } = *ended.last() else {
        panic!("{:?}", ended.last())
    };
    let inputs = Inputs::read(job.clone(), 0, &AtomicBool::new(false)).unwrap();
    let steps = Plan::new(&job, &inputs.train.samples).epoch(0);
    let mut seen: Vec<u64> = steps[..best as usize]
        .iter()
        .flatten()
        .flatten()
        .map(|&index| inputs.train.samples[index].line)
        .collect();
    seen.sort_unstable();
    let count = 2 * best;
    assert_eq!(seen.len() as u64, count);
    let dir = ended.dir.output_path();
    let (header, entries) = read(&dir.join(LEDGER_FILE));
    let lines = |entries: &[Entry], usage: Usage| -> Vec<u64> {
        entries.iter().filter(|entry| entry.usage == usage).map(|entry| entry.line).collect()
    };
    assert_eq!(lines(&entries, Usage::Train), seen);
    assert_eq!(
        (header.counts.train, header.counts.not_reached, header.step),
        (count, 24 - count, Some(best))
    );
    assert_eq!((header.counts.train_samples, header.counts.rows), (count, 28));
    assert_eq!(facts(&dir).step, Some(best));
    let card = fs::read_to_string(dir.join("README.md")).unwrap();
    for line in [
        format!("| trained on | {count} |"),
        format!("| not reached: of later steps than that of the adapter | {} |", 24 - count),
    ] {
        assert!(card.contains(&line), "{line}\n{card}");
    }
    // The run's own says when each row comes.
    let (planned, entries) = ledger(&ended);
    assert_eq!((planned.counts.train, planned.step), (24, None));
    for (step, micro_batches) in (1..).zip(&steps) {
        for &index in micro_batches.iter().flatten() {
            let line = inputs.train.samples[index].line;
            let entry = entries.iter().find(|entry| entry.file == 0 && entry.line == line).unwrap();
            assert_eq!(entry.step, Some(step), "line {line}");
        }
    }
}

/// Names of datasets and of the model that a run goes on from, with that model's ledger.
#[test]
fn a_ledger_says_where_its_rows_and_its_adapter_came_from() {
    let fixture = Fixture::new();
    let parent = fixture.run("parent", &JobSpec { epochs: 1, ..fixture.job() });
    parent.output();
    let origin = |dataset: &str, file: Option<&str>| DataOrigin {
        dataset: dataset.to_owned(),
        file: file.map(str::to_owned),
    };
    let origins =
        vec![origin("accounts/a/datasets/d", Some("own.jsonl")), origin("accounts/a/datasets/e", None)];
    let job = JobSpec {
        epochs: 1,
        warm_start_dir: Some(parent.dir.output_path()),
        warm_start_name: Some("accounts/a/models/parent".to_owned()),
        data_origins: origins.clone(),
        ..fixture.job()
    };
    let unnamed = JobSpec { warm_start_name: None, data_origins: vec![], ..job.clone() };
    assert_eq!(digest::job(&job), digest::job(&unnamed));
    let ended = fixture.run("run", &job);
    ended.output();
    let (header, _) = read(&ended.dir.output_path().join(LEDGER_FILE));
    let found: Vec<_> = header.files.iter().map(|file| file.origin.clone().unwrap()).collect();
    assert_eq!(found, origins);
    assert_eq!((header.files[0].own_name(), header.files[1].own_name()), ("own.jsonl", "eval.jsonl"));
    assert_eq!(header.warm_start_model.as_deref(), Some("accounts/a/models/parent"));
    assert_eq!(header.warm_start_ledger_sha256, Some(facts(&parent.dir.output_path()).ledger_sha256));
    let card = fs::read_to_string(ended.dir.output_path().join("README.md")).unwrap();
    assert!(card.contains("| data file own.jsonl |"), "{card}");
    assert!(card.contains("| accounts/a/models/parent, which the training went on from |"), "{card}");
}

/// A run directory that another run's settings or rows were put into keeps its ledger: its checkpoints are of that one.
#[test]
fn a_run_that_is_refused_leaves_the_ledger_alone() {
    let fixture = Fixture::new();
    let dir = fixture.run_dir("run", &fixture.job());
    crate::fixture::go(&dir).output();
    fs::remove_dir_all(dir.output_path()).unwrap();
    let events = fs::read_to_string(dir.events_path()).unwrap();
    let kept: Vec<&str> = events.lines().take_while(|line| !line.contains("\"writing\"")).collect();
    fs::write(dir.events_path(), kept.join("\n") + "\n").unwrap();
    let read =
        || [dir.ledger_path(), dir.serving_path().join("hearth.json")].map(|path| fs::read(path).unwrap());
    let before = read();
    fixture.write_rows("train.jsonl", &(3..27).map(row).collect::<Vec<_>>());
    let refused = crate::fixture::go(&dir);
    assert!(refused.failure().1.contains("was made with"), "{:?}", refused.failure());
    assert_eq!(read(), before);
}

/// A trainer that goes on writes the same ledger, also over one that a crash left in the making.
#[test]
fn a_ledger_is_written_anew_with_the_same_bytes() {
    let fixture = Fixture::new();
    fixture.write_rows("train.jsonl", &(0..24).map(row).collect::<Vec<_>>());
    let dir = fixture.run_dir("run", &fixture.job());
    let inside = crate::fixture::go(&dir);
    let output = inside.output();
    let before = fs::read(dir.ledger_path()).unwrap();
    // As if it had been killed after its first steps.
    fs::remove_dir_all(dir.output_path()).unwrap();
    let events = fs::read_to_string(dir.events_path()).unwrap();
    let kept: Vec<&str> = events.lines().take_while(|line| !line.contains("\"writing\"")).collect();
    fs::write(dir.events_path(), kept.join("\n") + "\n").unwrap();
    fs::write(dir.ledger_path(), &before[..before.len() / 2]).unwrap();
    fs::write(dir.ledger_path().with_extension("tmp"), "half").unwrap();
    assert_eq!(run(dir.root(), Default::default()), 0);
    assert_eq!(fs::read(dir.ledger_path()).unwrap(), before);
    assert_eq!(Ended { events: vec![], code: 0, dir }.output(), output);
}
