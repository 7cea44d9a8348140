//! The benchmark runs real steps and reports what it did.

use hearth_run::{Backend, Precision};
use hearth_train::bench::{BenchOptions, bench};

use crate::fixture::Fixture;

#[test]
fn a_report_holds_what_was_asked_and_plausible_figures() {
    let fixture = Fixture::new();
    let options = BenchOptions {
        tokens: 100,
        steps: 3,
        rank: 2,
        sequence_length: 40,
        precision: Precision::F32,
        threads: 2,
        ..BenchOptions::default()
    };
    let report = bench(&fixture.path("model"), &options).unwrap();
    assert_eq!((report.tokens_per_step, report.trained_tokens_per_step, report.rank), (100, 97, 2));
    assert_eq!(report.step_seconds.len(), 3);
    assert!(report.step_seconds.contains(&report.step_seconds_median));
    assert_eq!(report.tokens_per_second, 100.0 / report.step_seconds_median);
    assert!(report.last_loss > 1.0 && report.last_loss < 100.0, "{}", report.last_loss);
    let json = serde_json::to_value(&report).unwrap();
    for key in ["tokens_per_second", "step_seconds_median", "peak_rss_bytes"] {
        assert!(json[key].is_number(), "{key}");
    }
    let slow = BenchOptions { backend: Backend::Reference, ..options.clone() };
    let reference = bench(&fixture.path("model"), &slow).unwrap();
    assert!(reference.backend.contains("reference"), "{}", reference.backend);
    assert!((reference.last_loss - report.last_loss).abs() < 1e-4 * report.last_loss);

    let check = |options: BenchOptions, expect: &str| {
        let error = bench(&fixture.path("model"), &options).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(BenchOptions { steps: 0, ..options.clone() }, "at least");
    check(BenchOptions { precision: Precision::Bf16, ..slow }, "f32");
}
