//! The event log survives crashes; the lock tells who lives.

use super::*;
use crate::Heartbeat;

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
fn a_gap_ends_the_log_and_is_cut() {
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
    let mut tail = EventTail::new(&dir);
    assert_eq!(tail.poll().unwrap().len(), 1);
    drop(writer);
    let mut writer = EventWriter::open(&dir, &lock).unwrap();
    assert_eq!(writer.damage(), Some("event 3 follows event 1"));
    assert_eq!(writer.append(warning("d")).unwrap().seq, 2);
    assert_eq!(tail.poll().unwrap()[0].kind, warning("d"));
}

#[test]
fn what_no_event_can_be_read_of_ends_the_log_and_is_cut() {
    let dir = scratch("zeros");
    let lock = dir.lock().unwrap();
    let mut writer = EventWriter::open(&dir, &lock).unwrap();
    writer.append(warning("a")).unwrap();
    let whole = std::fs::read(dir.events_path()).unwrap();
    let zeros = [0; 4096].as_slice();
    let long = vec![b' '; EVENT_LINE_MAX_BYTES + 5];
    for (rest, damage) in [
        (zeros, None),
        (b"{}\n", Some("what follows event 1 is none, at column 2")),
        (&[zeros, b"\n", &whole].concat(), Some("what follows event 1 is none, at column 1")),
        (&long, Some("a line is longer than 1048576 bytes")),
    ] {
        std::fs::write(dir.events_path(), [&whole, rest].concat()).unwrap();
        let writer = EventWriter::open(&dir, &lock).unwrap();
        assert_eq!(writer.damage(), damage);
        assert_eq!(std::fs::read(dir.events_path()).unwrap(), whole);
    }
}

#[test]
fn times_never_go_back() {
    let dir = scratch("times");
    let lock = dir.lock().unwrap();
    // As if the clock had been set back since.
    let future = i64::MAX / 2;
    let line = format!(r#"{{"seq":1,"time_ms":{future},"type":"warning","message":"a"}}"#);
    std::fs::write(dir.events_path(), line + "\n").unwrap();
    let mut writer = EventWriter::open(&dir, &lock).unwrap();
    assert_eq!(writer.append(warning("b")).unwrap().time_ms, future);
}

#[test]
fn a_heart_beats_as_long_as_it_lives() {
    let dir = scratch("heart");
    assert_eq!(dir.beat().unwrap(), None);
    dir.expect_heartbeat().unwrap();
    let lock = dir.lock().unwrap();
    let mut last = dir.beat().unwrap();
    for _ in 0..2 {
        let heartbeat = Heartbeat::start(&dir, &lock).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut beats = 0;
        while beats < 2 {
            assert!(std::time::Instant::now() < end, "the heart does not beat");
            let beat = dir.beat().unwrap();
            beats += u32::from(beat != last);
            last = beat;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        drop(heartbeat);
    }
}

#[test]
fn new_directories_are_made_with_those_above() {
    let dir = scratch("new");
    let run = RunDir::new(dir.root().join("a/b/c"));
    run.create_dir(&run.checkpoints_path()).unwrap();
    assert!(run.checkpoints_path().is_dir());
    run.create_dir(&run.checkpoints_path()).unwrap();
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
