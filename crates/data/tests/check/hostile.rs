//! Files that are made to hurt: they end in clear words, in little time and memory.

use std::io::{self, Cursor, Read, Write};

use hearth_data::check::{Input, MAX_LISTED_ERRORS, Options, Report, check};
use hearth_data::{Code, source};

use crate::words::{chat, lines};
use crate::{outline, report_of};

const GB: u64 = 1 << 30;
const GOOD: &str =
    r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#;

fn stream(input: impl Read + Send, threads: usize) -> Report {
    let options = Options { threads, ..Options::default() };
    check(vec![Input::new("stream", Box::new(input))], Vec::new(), &options).expect("it can be read")
}

/// A text, again and again.
struct Repeat(&'static [u8], usize);

impl Read for Repeat {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for (index, byte) in buffer.iter_mut().enumerate() {
            *byte = self.0[(self.1 + index) % self.0.len()];
        }
        self.1 = (self.1 + buffer.len()) % self.0.len();
        Ok(buffer.len())
    }
}

#[test]
fn five_gigabytes_of_garbage_end_soon() {
    for line in [&b"not json at all\n"[..], b"{\"a\": 1}\n", b"\xff\xfe\x00\n", b"{[[[\n"] {
        let report = stream(Repeat(line, 0).take(5 * GB), 2);
        assert_eq!(report.rows, 10_000);
        assert_eq!(report.error_count, 10_001);
        assert_eq!(report.errors.len(), MAX_LISTED_ERRORS + 1);
        let last = report.errors.last().expect("an error");
        assert_eq!((last.line, last.code), (10_000, Code::GaveUp));
        assert_eq!(stream(Repeat(line, 0).take(5 * GB), 7), report);
    }
}

#[test]
fn five_gigabytes_without_a_line_break_are_one_row() {
    let report = stream(io::repeat(0).take(5 * GB), 2);
    let expect = "1 rows, 2 errors, 0 warnings\n\
         error too_few_rows: the file has 1 rows; a dataset needs at least 3 rows\n\
         error line_too_long: line 1: the line is longer than 33554432 bytes; divide the row; each row is a line of its own";
    assert_eq!(outline(&report), expect);
}

#[test]
fn five_gigabytes_of_an_array_are_told_once() {
    let report = stream(Cursor::new("[").chain(Repeat(GOOD.as_bytes(), 0).take(5 * GB)), 2);
    assert_eq!((report.rows, report.errors.len(), report.errors[0].code), (0, 1, Code::InvalidJson));
}

#[test]
fn garbage_behind_good_rows_is_given_up_too() {
    let good = lines(500, 8, chat).join("\n") + "\n";
    let report = stream(Cursor::new(good).chain(Repeat(b"x\n", 0).take(5 * GB)), 3);
    assert_eq!(report.rows, 10_000);
    assert_eq!(report.errors.last().map(|error| error.code), Some(Code::GaveUp));
    assert_eq!(report.statistics.good_rows, 500);
}

#[test]
fn long_lines_are_told_and_those_behind_them_read() {
    let long = || io::repeat(b'x').take(100 << 20);
    let row = |text: &str| Cursor::new(format!("\n{}\n", GOOD.replace('q', text)));
    let input = row("one").chain(long()).chain(row("two")).chain(long()).chain(row("three"));
    let report = stream(input, 2);
    let place = "the line is longer than 33554432 bytes; divide the row; each row is a line of its own";
    let expect = format!(
        "5 rows, 2 errors, 0 warnings\nerror line_too_long: line 3: {place}\nerror line_too_long: line 5: {place}"
    );
    assert_eq!(outline(&report), expect);
}

#[test]
fn bombs_unpack_up_to_the_limit_of_a_line() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..2 * 1024 {
        encoder.write_all(&zeros).expect("memory");
    }
    let bomb = encoder.finish().expect("memory");
    assert!(bomb.len() < 1 << 20);
    let report = stream(source::unpack(Cursor::new(bomb)).expect("memory can be read"), 2);
    assert_eq!(report.error_counts.get(&Code::LineTooLong), Some(&1));
}

#[test]
fn damaged_compression_is_told_behind_what_was_read() {
    let rows = lines(2000, 9, chat).join("\n");
    let packed = zstd::encode_all(rows.as_bytes(), 3).expect("memory");
    let whole = stream(source::unpack(Cursor::new(packed.clone())).expect("memory can be read"), 2);
    assert_eq!(outline(&whole), "2000 rows, 0 errors, 0 warnings");
    let cut = packed[..packed.len() * 2 / 3].to_vec();
    let report = stream(source::unpack(Cursor::new(cut)).expect("memory can be read"), 2);
    assert_eq!(report.error_counts.get(&Code::BadCompression), Some(&1));
    assert!(report.rows > 100 && report.rows < 2000);
}

#[test]
fn wide_and_deep_rows_are_bad_rows() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!("[{}0]", "0,".repeat(1_100_000));
    let keys: String = (0..100_000).map(|key| format!("\"{key}\":0,")).collect();
    let many = format!("{{{keys}\"messages\": 0}}");
    let rows = [GOOD, &deep, &wide, &many, "{\"messages\": \"\u{0}\"}", "\u{0}\u{0}"].join("\n");
    let report = report_of(rows, 2);
    let codes: Vec<&str> = report.errors.iter().map(|error| error.code.as_str()).collect();
    assert_eq!(codes, ["nested_too_deeply", "too_many_values", "wrong_type", "invalid_json", "invalid_json"]);
}

#[test]
fn errors_and_warnings_are_listed_up_to_a_limit_and_counted_beyond() {
    let mut rows = lines(8_000, 10, chat);
    let bad = "{\"messages\": [{\"role\": 1, \"content\": 2}, {\"role\": 3, \"content\": 4}]}".to_owned();
    rows.extend(vec![bad; 4_000]);
    rows.extend(vec![GOOD.to_owned(); 3_000]);
    let report = report_of(rows.join("\n"), 2);
    assert_eq!((report.error_count, report.errors.len()), (16_000, MAX_LISTED_ERRORS));
    assert_eq!((report.warning_count, report.warnings.len()), (2_999, 1_000));
    assert_eq!(report.warnings[0].line, 12_002);
    assert_eq!(report.warnings[999].line, 13_001);
}

#[test]
fn too_many_rows_end_the_reading() {
    let options = Options {
        limits: hearth_data::Limits { rows: 50, ..Default::default() },
        threads: 2,
        ..Options::default()
    };
    let input = Cursor::new(lines(60, 11, chat).join("\n"));
    let report = check(vec![Input::new("rows", Box::new(input))], Vec::new(), &options).expect("memory");
    let expect = "50 rows, 1 errors, 0 warnings\n\
         error too_many_rows: line 51: a dataset has at most 50 rows, this file has more; leave rows out";
    assert_eq!(outline(&report), expect);
}
