//! Reading of datasets: bytes, packed or not, to rows and to samples, to a report, and to a corrected file.

#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use hearth_data::check::{FixOptions, Input, Options, Report, check, fix};
use hearth_data::{Code, Error, Limits, Renderer, Row, RowReader, source};
use hearth_fuzz::{refused, tokenizer_dir};
use libfuzzer_sys::fuzz_target;

/// Longest line: rows of few bytes find what long ones find.
const LIMITS: Limits = Limits { line_bytes: 4096, rows: 200 };
const MAX_TOKENS: usize = 512;
/// Threads of a check: enough that blocks are put together in their order.
const THREADS: usize = 2;

static RENDERER: LazyLock<Renderer> =
    LazyLock::new(|| Renderer::open(&tokenizer_dir(), None).expect("the tests' tokenizer opens"));

fuzz_target!(|input: &[u8]| {
    for row in RowReader::with_limits(unpack(input), LIMITS) {
        match row {
            Ok(row) => render(&row),
            Err(Error::Row(bad)) => {
                for finding in bad.findings() {
                    assert!(!finding.message.is_empty() && !finding.fix.is_empty());
                    refused(finding);
                }
            }
            Err(error) => panic!("memory can be read: {error}"),
        }
    }
    let report = report(input, LIMITS);
    report.errors.iter().chain(&report.warnings).for_each(refused);
    let mut fixed = Vec::new();
    fix(unpack(input), &mut fixed, FixOptions::of(&report, LIMITS, None)).expect("memory can be read and written");
    // A row that is written otherwise may be longer than it was.
    for error in self::report(&fixed, Limits { rows: LIMITS.rows, ..Limits::default() }).errors {
        assert!(matches!(error.code, Code::EmptyFile | Code::TooFewRows), "what was corrected is bad: {error}");
    }
});

fn unpack(input: &[u8]) -> source::Source {
    source::unpack(Cursor::new(input.to_vec())).expect("memory can be read")
}

fn report(input: &[u8], limits: Limits) -> Report {
    let options = Options { limits, threads: THREADS, ..Options::default() };
    check(vec![Input::new("rows", unpack(input))], Vec::new(), &options).expect("memory can be read")
}

fn render(row: &Row) {
    match RENDERER.render(row, MAX_TOKENS) {
        Err(finding) => refused(finding),
        Ok(rendered) => {
            assert!(!rendered.samples.is_empty() || !rendered.too_long.is_empty());
            for sample in rendered.samples {
                assert_eq!(sample.tokens.len(), sample.weights.len());
                assert!(sample.tokens.len() <= MAX_TOKENS && sample.trained_tokens() > 0);
                assert!(sample.weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0));
                assert_eq!(sample.weights[0], 0.0);
            }
        }
    }
}
