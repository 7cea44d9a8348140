//! Clients that are broken or mean: each gets the right answer or none, nothing is written where it should not be, and
//! the server goes on.

mod every_rpc;
mod fuzz;
mod heads;
mod names;
mod slow;
mod uploads;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::server::Server;

/// Longest wait of a test.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A plain connection.
fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream
}

/// All that comes until the server closes the connection, in whatever way.
fn read_to_the_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends these bytes and no more, so that what is not whole breaks off, and reads what comes.
fn send(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server);
    // The server may answer and close before all is written.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    read_to_the_end(&mut stream)
}

/// Sends a whole request, which says that the connection ends with it, and reads the answer.
fn ask(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server);
    let _ = stream.write_all(bytes);
    read_to_the_end(&mut stream)
}

/// Status of an answer.
#[track_caller]
fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}"));
    word.parse().unwrap()
}

/// Body of an answer.
#[track_caller]
fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}"))
}

#[track_caller]
fn still_answers(server: &Server) {
    server.get("/v1/accounts/default").ok();
}

/// Head of a request with the operator's key, as far as its length.
fn head(server: &Server, method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n", server.addr(), server.key)
}
