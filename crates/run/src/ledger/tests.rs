//! Entries in, lines of the file out, and back.

use super::*;

fn entry(line: u64) -> Entry {
    Entry {
        file: 0,
        line,
        row: RowDigest::of(&line.to_le_bytes()),
        usage: Usage::Train,
        why: None,
        step: None,
        samples: 1,
        too_long: 0,
        tokens: 40,
        trained_tokens: 9,
        digest: Some(RowDigest::of(b"samples")),
    }
}

fn header(entries: &[Entry]) -> Header {
    let mut counts = Counts::default();
    entries.iter().for_each(|entry| counts.add(entry));
    Header {
        version: VERSION,
        engine: "hearth 1".to_owned(),
        files: vec![DataFile {
            name: "a.jsonl".to_owned(),
            sha256: "00".to_owned(),
            part: Part::Train,
            origin: None,
        }],
        base_sha256: "01".to_owned(),
        template_sha256: None,
        tokenizer_sha256: None,
        tokenizer_config_sha256: None,
        samples_sha256: "02".to_owned(),
        warm_start_sha256: None,
        warm_start_model: None,
        warm_start_ledger_sha256: None,
        step: None,
        max_context_length: 512,
        seed: 7,
        counts,
    }
}

fn written(entries: &[Entry]) -> (tempfile::TempDir, PathBuf, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(LEDGER_FILE);
    let sha256 = write(&path, &header(entries), entries).unwrap();
    (dir, path, sha256)
}

fn pack(path: &Path, text: &str) {
    std::fs::write(path, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
}

fn unpack(path: &Path) -> String {
    String::from_utf8(zstd::decode_all(File::open(path).unwrap()).unwrap()).unwrap()
}

/// What reading it to its end says.
fn fault(path: &Path) -> String {
    let read = LedgerReader::open(path).and_then(|ledger| ledger.collect::<Result<Vec<_>, _>>());
    match read.unwrap_err() {
        RunError::Ledger { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_read_and_has_the_same_bytes_each_time() {
    let dropped = Entry {
        usage: Usage::Dropped,
        why: Some(Reason::TooLong),
        samples: 0,
        too_long: 2,
        tokens: 0,
        trained_tokens: 0,
        digest: None,
        ..entry(3)
    };
    let entries = [entry(1), dropped, Entry { usage: Usage::CarvedOut, ..entry(9) }];
    let (_dir, path, sha256) = written(&entries);
    let ledger = LedgerReader::open(&path).unwrap();
    let counts = Counts {
        rows: 3,
        train: 1,
        not_reached: 0,
        carved_out: 1,
        dropped_too_long: 1,
        samples_too_long: 2,
        train_samples: 1,
        train_tokens: 40,
        trained_tokens: 9,
        eval: 0,
    };
    assert_eq!(ledger.header().counts, counts);
    assert_eq!(ledger.map(Result::unwrap).collect::<Vec<_>>(), entries);
    assert_eq!(sha256, hex::encode(Sha256::digest(unpack(&path))));
    let (_other, again, _) = written(&entries);
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(again).unwrap());
    // Readers of other versions and other programs rely on this line.
    let line = unpack(&path).lines().nth(2).unwrap().to_owned();
    let row = RowDigest::of(&3u64.to_le_bytes());
    let expect = format!(
        r#"{{"file":0,"line":3,"row":"{row}","use":"dropped","why":"too_long","samples":0,"too_long":2,"tokens":0,"trained_tokens":0}}"#
    );
    assert_eq!(line, expect);
}

#[test]
fn the_ledger_of_a_step_has_what_was_trained_on_by_then() {
    let at = |line: u64, step: Option<u64>| Entry { step, ..entry(line) };
    // Ledgers of earlier builds do not say when.
    let entries = [at(1, Some(3)), at(2, Some(2)), at(3, None), Entry { usage: Usage::Eval, ..entry(4) }];
    let (dir, path, planned) = written(&entries);
    let to = dir.path().join("of-a-step");
    let (header, sha256) = write_of_step(&path, &to, 2).unwrap();
    assert_eq!(sha256, hex::encode(Sha256::digest(unpack(&to))));
    let ledger = LedgerReader::open(&to).unwrap();
    assert_eq!(ledger.header(), &header);
    assert_eq!((header.step, header.counts.train, header.counts.not_reached), (Some(2), 2, 1));
    assert_eq!((header.counts.rows, header.counts.eval, header.counts.train_tokens), (4, 1, 80));
    let expect = [Entry { usage: Usage::NotReached, ..entries[0] }, entries[1], entries[2], entries[3]];
    assert_eq!(ledger.map(Result::unwrap).collect::<Vec<_>>(), expect);
    let whole = write_of_step(&path, &to, 3).unwrap().0;
    assert_eq!((whole.counts.not_reached, whole.counts.train), (0, 3));
    assert_ne!(planned, sha256);
    pack(&path, unpack(&path).trim_end());
    assert!(matches!(write_of_step(&path, &to, 2), Err(RunError::Ledger { .. })));
}

#[test]
fn a_row_is_found_at_each_of_its_places() {
    let mut entries: Vec<Entry> = (1..2000).map(entry).collect();
    entries[1500].row = entries[20].row;
    // The digest of samples is not that of a row.
    entries[1600].digest = Some(entries[20].row);
    let (_dir, path, _) = written(&entries);
    let find = |row| LedgerReader::open(&path).unwrap().find(row).unwrap();
    let lines: Vec<u64> = find(&entries[20].row).iter().map(|entry| entry.line).collect();
    assert_eq!(lines, [21, 1501]);
    assert_eq!(find(&RowDigest::of(b"another")), []);
}

#[test]
fn damaged_ledgers_say_what_is_wrong() {
    let (_dir, path, _) = written(&[entry(1), entry(2)]);
    let text = unpack(&path);
    let line = text.lines().nth(1).unwrap();
    let cases = [
        (String::new(), "it is empty"),
        ("{}\n".to_owned(), "its first line is no header"),
        (
            text.replacen("\"version\":1", "\"version\":2", 1),
            "it has version 2; this program knows version 1",
        ),
        (text.trim_end().to_owned(), "it ends within a line"),
        (text.lines().take(2).map(|line| format!("{line}\n")).collect(), "it ends after 1 of 2 rows"),
        (format!("{text}{line}\n"), "it has more than 2 rows"),
        (text.replacen("\"tokens\"", "\"token\"", 1), "line 2 is no row"),
        (text.replacen(line, &" ".repeat(5000), 1), "a line is longer than 4096 bytes"),
    ];
    for (text, expect) in cases {
        pack(&path, &text);
        assert_eq!(fault(&path), expect);
    }
    std::fs::write(&path, "no zstd").unwrap();
    assert!(fault(&path).starts_with("it cannot be unpacked"), "{}", fault(&path));
}

#[test]
fn digests_have_thirty_two_digits() {
    let digest = RowDigest::of(b"");
    assert_eq!(digest.to_string(), "e3b0c44298fc1c149afbf4c8996fb924");
    assert_eq!("E3B0C44298FC1C149AFBF4C8996FB924".parse(), Ok(digest));
    for wrong in ["", "e3", "e3b0c44298fc1c149afbf4c8996fb92g", "e3b0c44298fc1c149afbf4c8996fb92427"] {
        assert_eq!(wrong.parse::<RowDigest>(), Err(NoDigest));
    }
}
