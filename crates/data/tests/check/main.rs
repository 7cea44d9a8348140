//! The check of whole files: what it finds, what it does not, and what it takes.

mod clean;
mod corruption;
mod fixtures;
mod hostile;
mod pointers;
mod words;

use std::io::Cursor;

use hearth_data::check::{Input, Options, Report, check};

/// The report of one file's bytes, on this many threads.
pub fn report_of(bytes: impl Into<Vec<u8>>, threads: usize) -> Report {
    report_of_files(vec![bytes.into()], Vec::new(), threads)
}

/// The report of several files and of evaluation data.
pub fn report_of_files(files: Vec<Vec<u8>>, evaluation: Vec<Vec<u8>>, threads: usize) -> Report {
    let options = Options { threads, ..Options::default() };
    let input = |name: &str, (index, bytes): (usize, Vec<u8>)| {
        Input::new(format!("{name}-{index}.jsonl"), Box::new(Cursor::new(bytes)))
    };
    let files = files.into_iter().enumerate().map(|file| input("rows", file)).collect();
    let evaluation = evaluation.into_iter().enumerate().map(|file| input("evaluation", file)).collect();
    check(files, evaluation, &options).expect("memory can be read")
}

/// All findings, one a line.
pub fn outline(report: &Report) -> String {
    let mut out =
        format!("{} rows, {} errors, {} warnings", report.rows, report.error_count, report.warning_count);
    for (kind, list) in [("error", &report.errors), ("warning", &report.warnings)] {
        for finding in list {
            out += &format!("\n{kind} {}: {finding}", finding.code);
        }
    }
    out
}
