//! The event log survives crashes; the lock tells who lives.

use super::*;

fn scratch(name: &str) -> RunDir {
    let dir = std::env::temp_dir().join(format!("hearth-run-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    RunDir::new(dir)
}

fn warning(text: &str) -> EventKind {
    EventKind::Warning { message: text.to_owned() }
}

#[test]
fn an_unfinished_last_line_is_cut_and_numbers_go_on() {
    let dir = scratch("cut");
    let lock = dir.lock().unwrap();
    let mut writer = EventWriter::open(&dir, &lock).unwrap();
    writer.append(warning("a")).unwrap();
    writer.append(warning("b")).unwrap();
    drop(writer);
    let mut file = OpenOptions::new().append(true).open(dir.events_path()).unwrap();
    file.write_all(b"{\"seq\":3,\"time").unwrap();
    let mut tail = EventTail::new(&dir);
    assert_eq!(tail.poll().unwrap().len(), 2);
    let mut writer = EventWriter::open(&dir, &lock).unwrap();
    assert_eq!(writer.append(warning("c")).unwrap().seq, 3);
    let rest = tail.poll().unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].kind, warning("c"));
}

#[test]
fn a_gap_in_the_log_is_an_error() {
    let dir = scratch("gap");
    let lock = dir.lock().unwrap();
    let mut writer = EventWriter::open(&dir, &lock).unwrap();
    for text in ["a", "b", "c"] {
        writer.append(warning(text)).unwrap();
    }
    let text = std::fs::read_to_string(dir.events_path()).unwrap();
    let without_second: Vec<&str> =
        text.lines().enumerate().filter(|(i, _)| *i != 1).map(|(_, l)| l).collect();
    std::fs::write(dir.events_path(), without_second.join("\n") + "\n").unwrap();
    let error = EventTail::new(&dir).poll().unwrap_err();
    assert!(matches!(error, RunError::Damaged { .. }), "{error}");
}

#[test]
fn the_lock_is_exclusive_and_free_after_drop() {
    let dir = scratch("lock");
    assert!(!dir.is_live().unwrap());
    let lock = dir.lock().unwrap();
    assert!(dir.is_live().unwrap());
    assert!(matches!(dir.lock().unwrap_err(), RunError::Locked { .. }));
    drop(lock);
    assert!(!dir.is_live().unwrap());
}
