//! Bytes in, a report out.

use std::io;

use super::*;
use crate::check::{self, Input, Options, Report};

const GOOD: &str =
    r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#;
const PAIR: &str = r#"{"prompt": "p", "completion": "c"}"#;

fn outline(report: &Report) -> String {
    let mut out = format!("{} rows, {} errors, {:?}", report.rows, report.error_count, report.format);
    for error in &report.errors {
        out += &format!("\n{error}");
    }
    out
}

fn check_file(input: impl Read + Send, limits: Limits) -> Result<Report, Error> {
    let options = Options { limits, ..Options::default() };
    check::check(vec![Input::new("rows", Box::new(input))], Vec::new(), &options)
}

#[track_caller]
fn check(input: &[u8], expect: &str) {
    let limits = Limits { line_bytes: 200, rows: 6 };
    let report = check_file(input, limits).expect("memory can be read");
    assert_eq!(outline(&report), expect);
}

#[test]
fn good_files() {
    check(format!("{GOOD}\n{GOOD}\n{GOOD}").as_bytes(), "3 rows, 0 errors, Some(Chat)");
    check(
        format!("\u{feff}{PAIR}\r\n\n  \n{PAIR}\r\n{PAIR}\r\n\n").as_bytes(),
        "3 rows, 0 errors, Some(Completion)",
    );
}

#[test]
fn too_few_rows() {
    check(b"", "0 rows, 1 errors, None\nthe file is empty; a dataset needs at least 3 rows");
    check(b"\n \n", "0 rows, 1 errors, None\nthe file is empty; a dataset needs at least 3 rows");
    check(
        format!("{GOOD}\n{GOOD}\n").as_bytes(),
        "2 rows, 1 errors, Some(Chat)\nthe file has 2 rows; a dataset needs at least 3 rows",
    );
}

#[test]
fn every_bad_line_is_named() {
    let mut input = format!("{GOOD}\n\n{PAIR}\n{{\"a\": }}\n").into_bytes();
    input.extend_from_slice(b"{\"messages\": \"\xff\"}\n{\"messages\": [\n");
    check(
        &input,
        "5 rows, 4 errors, Some(Chat)\n\
         line 3: other rows have messages, this one has prompt and completion, or text; make a dataset of each: a \
         dataset has one format\n\
         line 4: invalid JSON at column 7: expected value; write JSON: texts in double quotes, true, false, null, and \
         finite numbers\n\
         line 5: invalid UTF-8 at byte 15 of the line; save the file as UTF-8\n\
         line 6: invalid JSON at column 14: the line ends too early; write the whole JSON object on one line",
    );
}

#[test]
fn byte_order_marks_of_files_that_were_put_together_are_skipped() {
    let input = format!("\u{feff}{GOOD}\n\u{feff}{GOOD}\n{GOOD}\n\u{feff}\n");
    check(input.as_bytes(), "3 rows, 0 errors, Some(Chat)");
    check(
        format!("{GOOD}\n{GOOD}\n{GOOD}\n \u{feff}{GOOD}\n").as_bytes(),
        "4 rows, 1 errors, Some(Chat)\n\
         line 4: invalid JSON at column 2: expected value; write JSON: texts in double quotes, true, false, null, and \
         finite numbers",
    );
}

#[test]
fn an_array_is_told_once() {
    let expect = "0 rows, 1 errors, None\n\
         the file begins with [, as a JSON array does: rows are JSON objects, one a line; write each element on a line of its \
         own, as jq -c '.[]' does";
    let pretty = format!("\n [\n  {GOOD},\n  {GOOD}\n]\n");
    let lines = format!("[{GOOD},\n{GOOD}]");
    for input in [pretty, lines, format!("\u{feff}[{GOOD}]"), "[".repeat(1000)] {
        check(input.as_bytes(), expect);
        assert_eq!(RowReader::new(input.as_bytes()).count(), 1);
    }
    // One that stands further back is a row that is none.
    check(
        format!("{GOOD}\n[1]\n{GOOD}\n").as_bytes(),
        "3 rows, 1 errors, Some(Chat)\nline 2: a row must be a JSON object, this is a list; write a JSON object",
    );
}

#[test]
fn line_breaks_of_old_macs_are_told() {
    check(
        format!("{PAIR}\r{PAIR}\r{PAIR}\r").as_bytes(),
        "1 rows, 2 errors, None\n\
         the file has 1 rows; a dataset needs at least 3 rows\n\
         line 1: invalid JSON at column 36: lines end with carriage returns alone, as on old Macs; end lines with line \
         feeds, as tr '\\r' '\\n' writes them",
    );
}

#[test]
fn utf_16_is_told_where_it_looks_so() {
    let wide: Vec<u8> = GOOD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    check(
        &[GOOD.as_bytes(), b"\n", &wide, b"\n", GOOD.replace("q", "q\0").as_bytes()].concat(),
        "3 rows, 2 errors, Some(Chat)\n\
         line 2: the line holds NUL bytes, as files in UTF-16 do; save the file as UTF-8\n\
         line 3: invalid JSON at column 45: a text holds a control character; escape it, a line break as \\n",
    );
}

#[test]
fn limits() {
    let long = format!("{GOOD}{}", " ".repeat(200 - GOOD.len()));
    check(format!("{long}\n{long}\n{long}\n").as_bytes(), "3 rows, 0 errors, Some(Chat)");
    check(
        format!("{GOOD}\n{long} \n{GOOD}\n").as_bytes(),
        "3 rows, 1 errors, Some(Chat)\nline 2: the line is longer than 200 bytes; divide the row; each row is a line of \
         its own",
    );
    check(
        format!("{GOOD}\n").repeat(8).as_bytes(),
        "6 rows, 1 errors, Some(Chat)\nline 7: a dataset has at most 6 rows, this file has more; leave rows out",
    );
}

#[test]
fn a_hundred_megabytes_without_a_line_break_are_not_held() {
    let line = io::repeat(b'x').take(100 << 20);
    let mut reader = RowReader::new(line.chain(io::Cursor::new(format!("\n{GOOD}\n"))));
    let error = reader.next().expect("a row").expect_err("too long").to_string();
    assert!(error.starts_with("line 1: the line is longer than 33554432 bytes; "), "{error}");
    assert!(reader.buffer.capacity() <= 2 * MAX_LINE_BYTES);
    assert_eq!(reader.next().expect("a row").expect("good").line, 2);
    assert!(reader.next().is_none());
}

#[test]
fn a_later_file_must_have_the_format_of_the_first() {
    let mut reader =
        RowReader::new(PAIR.as_bytes()).expect_kind(Some(Kind { format: Format::Chat, is_weighted: false }));
    let error = reader.next().expect("a row").expect_err("another format").to_string();
    assert!(error.starts_with("line 1: other rows have messages"), "{error}");
}

#[test]
fn a_broken_input_ends_the_reading() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let input = io::Cursor::new(format!("{GOOD}\n{GOOD}\n{GOOD}\n")).chain(Broken);
    assert!(matches!(check_file(input, Limits::default()), Err(Error::Read(_))));
}
