//! Reading of datasets: bytes, packed or not, to rows and to samples.

#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use hearth_data::{Error, Limits, Renderer, Row, RowReader, source};
use hearth_fuzz::{refused, tokenizer_dir};
use libfuzzer_sys::fuzz_target;

/// Longest line: rows of few bytes find what long ones find.
const LIMITS: Limits = Limits { line_bytes: 4096, rows: 200 };
const MAX_TOKENS: usize = 512;

static RENDERER: LazyLock<Renderer> =
    LazyLock::new(|| Renderer::open(&tokenizer_dir(), None).expect("the tests' tokenizer opens"));

fuzz_target!(|input: &[u8]| {
    let source = source::unpack(Cursor::new(input.to_vec())).expect("memory can be read");
    for row in RowReader::with_limits(source, LIMITS) {
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
});

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
