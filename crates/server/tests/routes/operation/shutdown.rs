//! A server that is told to stop finishes what is open, and not more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::server::{Server, rows};

const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Half of an upload to a signed URL; the other half is what is returned.
fn half_an_upload(server: &Server) -> (TcpStream, String) {
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "rows"})).ok();
    let files = json!({"filenameToSize": {"a.jsonl": rows().len()}});
    let urls = server.post("/v1/accounts/default/datasets/rows:getUploadEndpoint", &files).ok();
    let url = urls["filenameToSignedUrls"]["a.jsonl"].as_str().unwrap();
    let path = url.strip_prefix(&server.base).unwrap();
    let rows = rows();
    let (first, second) = rows.split_at(rows.len() / 2);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", server.addr(), rows.len());
    stream.write_all(format!("{head}{first}").as_bytes()).unwrap();
    wait_until_open(server, "rest", 2);
    (stream, second.to_owned())
}

/// Waits until so many requests are open, that of the question among them.
fn wait_until_open(server: &Server, face: &str, count: usize) {
    let sample = format!("hearth_http_requests_open{{face=\"{face}\"}} {count}\n");
    for _ in 0..1000 {
        if String::from_utf8(server.get("/metrics").body).unwrap().contains(&sample) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("there are never {count} open requests over {face}");
}

/// Waits until nobody is accepted any more.
fn wait_until_closed(addr: SocketAddr) {
    for _ in 0..1000 {
        match TcpStream::connect(addr) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return,
            // One that was accepted before the end is closed without an answer.
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    panic!("the server goes on accepting");
}

fn read_to_the_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn an_upload_that_is_open_is_finished() {
    let mut server = Server::start();
    let (mut stream, rest) = half_an_upload(&server);
    let running = server.take_running();
    let addr = running.addr();
    let stopping = server.runtime().spawn(running.shutdown());
    wait_until_closed(addr);
    assert!(!stopping.is_finished());
    stream.write_all(rest.as_bytes()).unwrap();
    let answer = read_to_the_end(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.runtime().block_on(stopping).unwrap();
    let again = Server::start_in(server.give_back_dir());
    again.post("/v1/accounts/default/datasets/rows:validateUpload", &json!({})).ok();
}

#[test]
fn a_chat_that_is_streamed_is_finished() {
    let mut server = crate::openai::server();
    let chat = json!({
        "model": crate::openai::BASE, "stream": true, "max_tokens": 40, "temperature": 0,
        "messages": [{"role": "user", "content": "hello"}],
    })
    .to_string();
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        server.key,
        chat.len()
    );
    stream.write_all(format!("{head}{chat}").as_bytes()).unwrap();
    let mut first = [0; 15];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let running = server.take_running();
    let stopping = server.runtime().spawn(running.shutdown());
    let rest = read_to_the_end(&mut stream);
    assert!(rest.contains("\"finish_reason\":\"length\"") && rest.contains("data: [DONE]"), "{rest}");
    server.runtime().block_on(stopping).unwrap();
}

#[test]
fn what_does_not_end_is_cut_off() {
    let mut server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.shutdown_timeout = Duration::from_millis(200);
    });
    let (mut stream, _) = half_an_upload(&server);
    let running = server.take_running();
    server.runtime().block_on(running.shutdown());
    assert_eq!(read_to_the_end(&mut stream), "");
    // What came of the file is gone.
    let left = server.dir.path().join("objects/datasets/default/rows");
    let again = Server::start_in(server.give_back_dir());
    drop(again);
    assert_eq!(std::fs::read_dir(left).map_or(0, Iterator::count), 0);
}

#[test]
fn a_second_word_cuts_off_at_once() {
    let mut server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.shutdown_timeout = Duration::from_secs(3600);
    });
    let (mut stream, _) = half_an_upload(&server);
    let running = server.take_running();
    let cut_off = running.cut_off();
    let stopping = server.runtime().spawn(running.shutdown());
    cut_off();
    server.runtime().block_on(stopping).unwrap();
    assert_eq!(read_to_the_end(&mut stream), "");
}

#[test]
fn with_a_delay_it_says_first_that_it_is_not_ready() {
    let mut server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.shutdown_delay = Duration::from_secs(3600);
    });
    let running = server.take_running();
    let cut_off = running.cut_off();
    let stopping = server.runtime().spawn(running.shutdown());
    let not_ready = (0..1000).map(|_| server.get("/readyz")).find(|reply| reply.status != 200).unwrap();
    let (status, code, message) = not_ready.error();
    assert_eq!((status, code), (503, 14));
    assert!(message.contains("shutting down"), "{message}");
    // All else is answered until the delay is over.
    server.get("/v1/accounts/default").ok();
    cut_off();
    server.runtime().block_on(stopping).unwrap();
}
