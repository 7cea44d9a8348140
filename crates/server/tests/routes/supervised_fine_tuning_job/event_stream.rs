//! `GET .../supervisedFineTuningJobs/{job}/events:stream`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::checkpoints::{begin, finish, server};
use super::{JOBS, create};
use crate::server::Server;

/// Longest wait for an event.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens a stream and reads the head of the answer: its status, and what follows.
fn open(server: &Server, job: &str, last: Option<&str>) -> (u16, BufReader<TcpStream>) {
    let mut socket = TcpStream::connect(server.addr()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let last = last.map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
    write!(
        socket,
        "GET {JOBS}/{job}/events:stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{last}\
         Connection: close\r\n\r\n",
        server.key
    )
    .unwrap();
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    (status, reader)
}

/// Reads lines until one begins so, and returns the rest of it.
fn until(reader: &mut impl BufRead, begin: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended before {begin:?}");
        if let Some(rest) = line.strip_prefix(begin) {
            return rest.trim().to_owned();
        }
    }
}

/// Numbers of the events in the rest of a stream, and their names.
fn rest(mut reader: impl Read) -> (Vec<String>, Vec<String>) {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let all = |begin: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(begin)).map(|rest| rest.trim().to_owned()).collect()
    };
    (all("id:"), all("event:"))
}

#[test]
fn events_come_as_they_happen_and_the_stream_ends_with_the_job() {
    let server = server();
    let run = begin(&server, "j");
    let (status, mut stream) = open(&server, "j", None);
    assert_eq!(status, 200);
    assert_eq!(until(&mut stream, "event:"), "state_changed");
    let data: serde_json::Value = serde_json::from_str(&until(&mut stream, "data:")).unwrap();
    assert_eq!(
        (&data["sequenceNumber"], &data["stateChange"]["to"]),
        (&"1".into(), &"JOB_STATE_VALIDATING".into())
    );
    until(&mut stream, "event: validated");
    let number = until(&mut stream, "id:");
    assert_eq!(number, "3");
    // Nothing more comes until the trainer goes on; then all the rest, and the end.
    finish(&server, &run, "j");
    let (numbers, names) = rest(stream);
    assert_eq!(numbers, ["4", "5", "6", "7"]);
    assert!(names.contains(&"trained".to_owned()), "{names:?}");
    // Whoever was cut off goes on behind what it got; whoever has all need not come again.
    let (status, stream) = open(&server, "j", Some("5"));
    assert_eq!((status, rest(stream).0), (200, vec!["6".to_owned(), "7".to_owned()]));
    assert_eq!(open(&server, "j", Some("7")).0, 204);
    assert_eq!(open(&server, "j", Some("x")).0, 400);
    assert_eq!(open(&server, "none", None).0, 404);
}

#[test]
fn a_stream_ends_when_its_job_is_deleted_or_the_server_stops() {
    let server = super::server();
    create(&server, "j");
    let (status, stream) = open(&server, "j", None);
    assert_eq!(status, 200);
    server.delete(&format!("{JOBS}/j"));
    assert_eq!(rest(stream).1.last().map(String::as_str), Some("state_changed"));
    create(&server, "k");
    let (status, stream) = open(&server, "k", None);
    assert_eq!(status, 200);
    server.stop();
    assert_eq!(rest(stream).0, Vec::<String>::new());
}

#[test]
fn an_account_has_a_limit_of_open_streams() {
    let server = super::server();
    create(&server, "j");
    let open_all: Vec<_> = (0..hearth_server::limits::EVENT_STREAMS_PER_ACCOUNT_MAX)
        .map(|_| {
            let (status, stream) = open(&server, "j", None);
            assert_eq!(status, 200);
            stream
        })
        .collect();
    assert_eq!(open(&server, "j", None).0, 429);
    drop(open_all);
    // The server finds out that they are gone when it writes to them.
    server.post(&format!("{JOBS}/j:cancel"), &serde_json::json!({}));
    let end = std::time::Instant::now() + PATIENCE;
    while open(&server, "j", None).0 != 200 {
        assert!(std::time::Instant::now() < end, "no stream became free");
        std::thread::sleep(Duration::from_millis(50));
    }
}
