//! `POST .../supervisedFineTuningJobs:estimateCost`.

use hearth_data::pack::{BatchSize, Plan, Settings, step_count};
use hearth_data::{Renderer, RowReader, Sample, carve};
use hearth_server::TrainingPrice;
use serde_json::{Value, json};

use super::JOBS;
use crate::dataset::render_preview::{chat, install, ready, tiny};
use crate::dataset::upload_files;
use crate::server::{Reply, Server, install_model};

/// Rows of many lengths; some are longer than 64 tokens, one than all.
fn rows() -> String {
    let row = |i: usize| chat(&["question", &"word ".repeat(i * 3 % 40)]);
    (0..40).map(|i| format!("{}\n", row(i))).chain([chat(&["question", &"word ".repeat(300)])]).collect()
}

fn server_with(price: Option<&str>) -> Server {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path());
    let server = Server::start_with(dir, |config| {
        // Templates that are not the base's own come to nothing.
        config.render_command = Some(vec!["/bin/false".into()]);
        if let Some(price) = price {
            config.training_price = TrainingPrice::parse(price).unwrap();
        }
    });
    ready(&server, "rows", &rows());
    server
}

fn estimate(server: &Server, more: Value) -> Reply {
    let mut job = json!({"dataset": "rows", "baseModel": "words"});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post(&format!("{JOBS}:estimateCost"), &job)
}

/// What the trainer's own parts make of the rows: samples, and rows that are left out.
fn samples(context: usize) -> (Vec<Sample>, usize) {
    let renderer = Renderer::open(&tiny(), None).unwrap();
    let rows: Vec<Option<Sample>> = RowReader::new(rows().as_bytes())
        .map(|row| renderer.sample_within(&row.unwrap(), context).unwrap())
        .collect();
    let dropped = rows.iter().filter(|row| row.is_none()).count();
    (rows.into_iter().flatten().collect(), dropped)
}

#[test]
fn it_counts_what_the_trainer_would_do() {
    let server = server_with(Some("2.50 EUR"));
    let check = |more: Value, context: usize, size: BatchSize, accumulation: usize, epochs: u64| {
        let (mut samples, dropped) = samples(context);
        assert!(dropped > 0);
        if more["evalAutoCarveout"] == true {
            let chosen = carve::carved_out(41, samples.len(), 0);
            assert_eq!(chosen.len(), 4);
            samples = carve::take_out(samples, &chosen).0;
        }
        let lengths: Vec<usize> = samples.iter().map(|sample| sample.tokens.len()).collect();
        let tokens: usize = lengths.iter().sum();
        let trained: usize = samples.iter().map(Sample::trained_tokens).sum();
        let settings =
            Settings { shuffle_seed: Some(0), batch_size: size, micro_batch_tokens: 1024, shared_tokens: 0 };
        let plan = Plan::new(lengths, settings);
        // The batches themselves, not only their number.
        let steps: u64 = (0..epochs).map(|epoch| step_count(plan.epoch(epoch).len(), accumulation)).sum();
        let got = estimate(&server, more).ok();
        let all = tokens as u64 * epochs;
        let nanos = all * 2500;
        let expect = json!({
            "estimatedCost": {"currencyCode": "EUR", "units": (nanos / 1_000_000_000).to_string(),
                "nanos": nanos % 1_000_000_000},
            "tokensPerEpoch": tokens.to_string(),
            "tokens": all.to_string(),
            "trainedTokens": (trained as u64 * epochs).to_string(),
            "steps": steps.to_string(),
            "rows": "41",
            "droppedRows": dropped.to_string(),
        });
        assert_eq!(got, expect);
    };
    check(json!({}), 128, BatchSize::Samples(8), 1, 1);
    check(json!({"maxContextLength": 64, "epochs": 3}), 64, BatchSize::Samples(8), 1, 3);
    check(
        json!({"maxContextLength": 64, "batchSize": 200, "gradientAccumulationSteps": 2, "epochs": 5}),
        64,
        BatchSize::Tokens(200),
        2,
        5,
    );
    check(json!({"evalAutoCarveout": true, "epochs": 2}), 128, BatchSize::Samples(8), 1, 2);
    // Nothing was made.
    assert_eq!(server.get(JOBS).ok()["totalSize"], 0);
}

#[test]
fn it_is_free_unless_the_operator_says_otherwise() {
    let cost = estimate(&server_with(None), json!({})).ok()["estimatedCost"].clone();
    assert_eq!(cost, json!({"currencyCode": "USD", "units": "0", "nanos": 0}));
}

#[test]
fn several_files_are_one_dataset() {
    let server = server_with(None);
    let one = estimate(&server, json!({})).ok();
    let rows = rows();
    let (first, second) = rows.split_at(rows.match_indices('\n').nth(10).unwrap().0 + 1);
    upload_files(&server, "two", &[("a.jsonl", first.as_bytes()), ("b.jsonl", second.as_bytes())]);
    server.post("/v1/accounts/default/datasets/two:validateUpload", &json!({})).ok();
    assert_eq!(estimate(&server, json!({"dataset": "two"})).ok(), one);
}

#[test]
fn a_job_that_could_not_be_made_has_the_same_error() {
    let server = server_with(None);
    install_model(server.dir.path(), "default", "adapter", Some("words"));
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "empty"})).ok();
    let check = |more: Value, expect: (u16, i64), part: &str| {
        let mut job = json!({"dataset": "rows", "baseModel": "words"});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, code, message) = estimate(&server, more.clone()).error();
        assert_eq!((status, code), expect, "{more}: {message}");
        assert!(message.contains(part), "{message}");
        assert_eq!(server.post(JOBS, &job).error(), (status, code, message));
    };
    check(json!({"dataset": "gone"}), (404, 5), "gone");
    check(json!({"dataset": "empty"}), (400, 9), "not READY");
    check(json!({"dataset": ""}), (400, 3), "is required");
    check(json!({"baseModel": "adapter"}), (400, 3), "is an adapter");
    check(json!({"epochs": 101, "loraRank": -1}), (400, 3), "epochs");
    check(json!({"earlyStop": true}), (501, 12), "earlyStop");
}

#[test]
fn a_job_that_would_fail_says_why() {
    let server = server_with(None);
    upload_files(
        &server,
        "long",
        &[("l.jsonl", (chat(&["q", &"word ".repeat(300)]) + "\n").repeat(3).as_bytes())],
    );
    server.post("/v1/accounts/default/datasets/long:validateUpload", &json!({})).ok();
    let (status, code, message) = estimate(&server, json!({"dataset": "long"})).error();
    assert_eq!((status, code), (400, 3));
    assert!(message.contains("all 3 rows of the dataset are longer than 128 tokens"), "{message}");
    // A template of the job runs in a process of its own, and this server has none that works.
    let (status, code, message) = estimate(&server, json!({"jinjaTemplate": "{{ messages }}"})).error();
    assert_eq!((status, code, message.starts_with("jinjaTemplate: ")), (400, 3, true), "{message}");
}
