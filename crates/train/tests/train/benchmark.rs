//! Benchmarks run real steps and report what they did.

use std::fs;

use hearth_run::{Backend, Precision};
use hearth_train::bench::{GemmOptions, Products, Tokens, TrainBench, gemm, train};

use crate::fixture::Fixture;

fn options(count: usize, sequence_length: usize) -> TrainBench {
    TrainBench {
        tokens: Tokens::Random { count, sequence_length },
        steps: 3,
        rank: 2,
        precision: Precision::F32,
        threads: 2,
        ..TrainBench::default()
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs()
}

#[test]
fn a_report_holds_what_was_asked_and_plausible_figures() {
    let fixture = Fixture::new();
    let options = options(100, 40);
    let report = train(&fixture.path("model"), &options).unwrap();
    assert_eq!((report.tokens_per_step, report.trained_tokens_per_step, report.rank), (100.0, 97.0, 2));
    assert_eq!(report.sequence_length, 100.0 / 3.0);
    assert_eq!(report.step_seconds.len(), 3);
    assert!(report.step_seconds.contains(&report.step_seconds_median));
    assert!(report.step_seconds.iter().all(|&seconds| seconds <= report.step_seconds_p95));
    assert!(close(report.tokens_per_second, 100.0 / report.step_seconds_median));
    assert!(report.last_loss > 1.0 && report.last_loss < 100.0, "{}", report.last_loss);
    let mean = report.step_seconds.iter().sum::<f64>() / 3.0;
    let parts = &report.parts;
    let rest = [parts.loss, parts.elementwise, parts.optimiser, parts.data, parts.other];
    let sum: f64 = rest.iter().chain([&parts.gemm, &parts.attention]).map(|part| part.seconds).sum();
    assert!((sum - mean).abs() < 1e-9 && parts.other.seconds >= 0.0, "{parts:?}");
    assert!(close(
        report.share_of_ceiling.unwrap() * report.ceiling_flop_per_second.unwrap(),
        report.flop_per_second
    ));
    let json = serde_json::to_value(&report).unwrap();
    for key in ["tokens_per_second", "step_seconds_median", "peak_rss_bytes", "seconds_to_first_step"] {
        assert!(json[key].is_number(), "{key}");
    }
    let slow = TrainBench { backend: Backend::Reference, ..options.clone() };
    let reference = train(&fixture.path("model"), &slow).unwrap();
    assert!(reference.backend.contains("reference"), "{}", reference.backend);
    assert!((reference.last_loss - report.last_loss).abs() < 1e-4 * report.last_loss);
    assert_eq!(reference.flop_per_token, report.flop_per_token);

    let check = |options: TrainBench, expect: &str| {
        let error = train(&fixture.path("model"), &options).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(TrainBench { steps: 0, ..options.clone() }, "at least");
    check(TrainBench { tokens: Tokens::Random { count: 1, sequence_length: 0 }, ..options }, "at least");
    check(TrainBench { precision: Precision::Bf16, ..slow }, "f32");
}

/// Against the count from the configuration: every product of a frozen weight once forward and once backward,
/// three of LoRA's per factor, attention once forward and twice backward; nothing below the first block's adapters.
#[test]
fn operations_are_those_of_the_configuration() {
    let fixture = Fixture::new();
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture.path("model/config.json")).unwrap()).unwrap();
    let field = |name: &str| json[name].as_u64().unwrap();
    let (c, i, layers, v) =
        (field("hidden_size"), field("intermediate_size"), field("num_hidden_layers"), field("vocab_size"));
    let head_dim = json["head_dim"].as_u64().unwrap_or(c / field("num_attention_heads"));
    let (q, kv) = (field("num_attention_heads") * head_dim, field("num_key_value_heads") * head_dim);
    let shapes = [(q, c), (kv, c), (kv, c), (c, q), (i, c), (i, c), (c, i)];
    let frozen: u64 = shapes.iter().map(|(n, k)| n * k).sum();
    let factors: u64 = shapes.iter().map(|(n, k)| n + k).sum();
    // Two sequences of 30 tokens and one of 7, the last token of which predicts nothing and is no row.
    let (t, trained, r) = (64, 64, 2);
    let pairs = 2 * (29 * 30 / 2) + 6 * 7 / 2;
    let forward = layers * (2 * t * (frozen + r * factors) + 4 * pairs * q) + 2 * trained * v * c;
    let backward = layers * (2 * t * (frozen + 2 * r * factors) + 8 * pairs * q) + 2 * trained * v * c;
    // q, k, v of the first block: their input, the embedding, needs no gradient.
    let below = 2 * t * shapes[..3].iter().map(|(n, k)| n * k + r * k).sum::<u64>();

    let both = train(&fixture.path("model"), &options(67, 30)).unwrap();
    assert!(
        close(both.flop_per_token * 67.0, (forward + backward - below) as f64),
        "{}",
        both.flop_per_token
    );
    let loss_alone = TrainBench { forward: true, ..options(67, 30) };
    let loss_alone = train(&fixture.path("model"), &loss_alone).unwrap();
    assert!(close(loss_alone.flop_per_token * 67.0, forward as f64), "{}", loss_alone.flop_per_token);
    assert_eq!(loss_alone.parts.optimiser.seconds, 0.0);
}

#[test]
fn rows_are_taken_eight_a_step() {
    let fixture = Fixture::new();
    let rows = fixture.path("benchmark.jsonl");
    let row = |i: usize| {
        let question = "what is it ".repeat(1 + i % 5);
        format!(
            "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{question}\"}},\
             {{\"role\":\"assistant\",\"content\":\"it is this\"}}]}}\n"
        )
    };
    fs::write(&rows, (0..20).map(row).collect::<String>()).unwrap();
    let steps = TrainBench { tokens: Tokens::Rows(rows.clone()), steps: 6, ..options(0, 0) };
    let report = train(&fixture.path("model"), &steps).unwrap();
    // Steps of 8, 8 and 4 rows, each measured twice.
    let rows_per_step = report.tokens_per_step / report.sequence_length;
    assert!(close(rows_per_step, 20.0 / 3.0), "{rows_per_step}");
    assert!(report.trained_tokens_per_step < report.tokens_per_step);
    assert_eq!(report.rows, Some(rows.clone()));
    fs::write(&rows, "{\"messages\":[]}\n").unwrap();
    assert!(train(&fixture.path("model"), &steps).is_err());
}

#[test]
fn every_matrix_of_the_model_is_multiplied_in_both_directions() {
    let fixture = Fixture::new();
    let options = GemmOptions {
        products: Products::Model(fixture.path("model")),
        rows: 3,
        isa: None,
        precision: Precision::Bf16,
        threads: 1,
    };
    let report = gemm(&options).unwrap();
    let mut names: Vec<&str> = report.products.iter().flat_map(|product| product.linears.clone()).collect();
    names.sort_unstable();
    let mut expect =
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"].repeat(2);
    expect.sort_unstable();
    assert_eq!(names, expect);
    for product in &report.products {
        assert!(product.flop_per_second > 0.0 && product.calls >= 5, "{product:?}");
        assert!(product.flop_per_second <= product.flop_per_second_best);
    }
    assert!(gemm(&GemmOptions { rows: 0, ..options }).is_err());
}
