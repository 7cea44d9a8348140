//! Files in, findings out: what needs a model.

use std::io::Cursor;

use super::*;
use crate::render::Renderer;

fn renderer() -> Renderer {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny");
    Renderer::open(&dir, None).expect("the tiny model's tokenizer is there")
}

fn report(text: &str, context_length: usize, threads: usize) -> Report {
    let renderer = renderer();
    let options = Options {
        renderer: Some(&renderer),
        context_length,
        model_context_length: 2048,
        batching: Batching { batch_size: BatchSize::Samples(2), micro_batch_tokens: 64, seed: 0 },
        threads,
        ..Options::default()
    };
    let input = Input::new("rows", Box::new(Cursor::new(text.to_owned().into_bytes())));
    check(vec![input], Vec::new(), &options).expect("memory can be read")
}

fn pair(prompt: &str, completion: &str) -> String {
    serde_json::json!({"prompt": prompt, "completion": completion}).to_string()
}

#[test]
fn tokens_are_counted_as_the_renderer_makes_them() {
    let rows: Vec<String> =
        (1..=9).map(|n| pair(&"ask ".repeat(n), &format!("{} number {n}", "tell ".repeat(n * n)))).collect();
    let text = rows.join("\n");
    let found = report(&text, 2048, 1);
    let tokens = found.tokens.clone().expect("there is a renderer");
    let renderer = renderer();
    let mut lengths: Vec<usize> = Vec::new();
    for (line, row) in (1..).zip(&rows) {
        let row = crate::Row::from_text(line, row).expect("a good row");
        lengths
            .extend(renderer.render(&row, 2048).expect("it renders").samples.iter().map(|s| s.tokens.len()));
    }
    assert_eq!(tokens.samples, 9);
    assert_eq!(tokens.tokens, lengths.iter().sum::<usize>() as u64);
    assert!(tokens.trained_tokens > 0 && tokens.trained_tokens < tokens.tokens);
    assert_eq!(tokens.percentiles.last(), Some(&(100, *lengths.iter().max().expect("some") as u64)));
    assert_eq!(tokens.histogram.iter().map(|bin| bin.samples).sum::<u64>(), 9);
    assert_eq!(tokens.packed.expect("there are samples").steps_per_epoch, 5);
    for threads in [2, 7] {
        assert_eq!(report(&text, 2048, threads), found);
    }
    // A context between the shortest and the longest leaves some out.
    let most = lengths[4];
    let cut = report(&text, most, 2);
    let left_out = lengths.iter().filter(|length| **length > most).count() as u64;
    assert!(left_out > 0);
    assert_eq!(cut.warning_counts.get(&Code::TooLong), Some(&left_out));
    assert_eq!(cut.tokens.expect("there is a renderer").samples_too_long, left_out);
    assert_eq!(cut.error_count, 0);
}

#[test]
fn a_dataset_of_which_nothing_is_left_is_an_error() {
    let rows: Vec<String> = (0..3).map(|n| pair("a b c d e f g h", &"x y z ".repeat(10 + n))).collect();
    let found = report(&rows.join("\n"), 16, 1);
    assert_eq!(found.error_counts.keys().copied().collect::<Vec<_>>(), [Code::NothingToTrain]);
}

#[test]
fn special_tokens_in_texts_are_told() {
    let special = renderer().tokenizer().special_texts();
    let special = special.first().expect("the tiny model has special tokens");
    let rows = [pair("one", "two"), pair("three", "four"), pair(&format!("say {special} now"), "five")];
    let found = report(&rows.join("\n"), 2048, 1);
    let warning = &found.warnings[0];
    assert_eq!((warning.line, warning.pointer.as_str(), warning.code), (3, "/prompt", Code::SpecialToken));
    assert_eq!(found.warning_count, 1);
}

/// A row whose prompt this is ends its worker.
pub(super) const PANICS_IN_A_WORKER: &str = "panic in a worker";
/// A good row on this line ends the merger.
pub(super) const PANICS_IN_THE_MERGER: u64 = 200_001;

pub(super) fn panic_at(row: &crate::Row, prompt: &str) {
    if let crate::RowContent::Completion { prompt: own, .. } = &row.content {
        assert_ne!(own, prompt, "as a worker might");
    }
}

/// Rows without an end: whoever does not stop reading never ends.
struct Endless {
    text: Vec<u8>,
    at: usize,
    panics_after: Option<usize>,
}

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        assert!(self.panics_after.is_none_or(|bytes| self.at < bytes), "as a source might");
        let from = self.at % self.text.len();
        let count = buffer.len().min(self.text.len() - from);
        buffer[..count].copy_from_slice(&self.text[from..from + count]);
        self.at += count;
        Ok(count)
    }
}

#[test]
fn a_panic_anywhere_ends_the_check() {
    let bad = pair(PANICS_IN_A_WORKER, "x");
    // All workers, the source, and the merger.
    for (text, panics_after) in [
        (format!("{bad}\n"), None),
        (format!("{}\n", pair("q", "a")), Some(3 << 20)),
        (format!("{}\n{}", pair("q", "a"), "\n".repeat(99)), None),
    ] {
        let (done, ended) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let endless = Endless { text: text.into_bytes(), at: 0, panics_after };
            let input = Input::new("rows", Box::new(endless));
            let limits = Limits { rows: u64::MAX, ..Limits::default() };
            let options = Options { threads: 3, limits, ..Options::default() };
            let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                check(vec![input], Vec::new(), &options).map(|report| report.rows)
            }));
            done.send(found.is_err()).expect("somebody waits");
        });
        // Far longer than it takes: a check that hangs must not hang the test.
        let panicked = ended.recv_timeout(std::time::Duration::from_secs(120)).expect("the check ends");
        assert!(panicked);
        thread.join().expect("it ended");
    }
}

#[test]
fn weights_part_rows_and_not_questions() {
    let plain = |text: String| {
        let input = Input::new("rows", Box::new(Cursor::new(text.into_bytes())));
        check(vec![input], Vec::new(), &Options::default()).expect("memory can be read").warning_counts
    };
    let row = |weight: f64, answer: &str| {
        let prompt = "what is the tallest building of the city?";
        serde_json::json!({"weight": weight, "prompt": prompt, "completion": answer}).to_string()
    };
    // So many that a few bits of a hash do not tell them apart.
    let rows: Vec<String> =
        (0..20_000).map(|n| row(1.0 + f64::from(n) / 20_000.0, "the tower on the hill")).collect();
    let found = plain(rows.join("\n"));
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(Code::NearDuplicateRow, 19_999)]);
    let found = plain([row(1.0, "the tower"), row(2.0, "the castle"), row(1.0, "the tower")].join("\n"));
    let expect = [(Code::DuplicateRow, 1), (Code::ConflictingAnswers, 1)];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expect);
}
