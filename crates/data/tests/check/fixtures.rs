//! A file for each way to be wrong, and the words for it.

use std::path::Path;

use hearth_data::check::{Input, Options, check};

use crate::outline;

#[test]
fn every_broken_file_is_told_in_clear_words() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bad");
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).expect("fixtures").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    let mut out = String::new();
    for path in paths {
        let input = Input::open(&path).expect("a file");
        let report = check(vec![input], Vec::new(), &Options::default()).expect("it can be read");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        out += &format!("{name}: {}\n\n", outline(&report));
    }
    insta::assert_snapshot!(out);
}
