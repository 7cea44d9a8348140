//! `hearth serve` as a process: TLS, signals and its end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Server, hearth};

/// The first half of a request that makes a dataset; the second half is returned.
fn half_a_request(server: &Server) -> (TcpStream, &'static str) {
    let (first, second) = ("{\"dataset", "Id\": \"rows\"}");
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "POST /v1/accounts/default/datasets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        server.key,
        first.len() + second.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server asks for the body, so the request is being answered.
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&asked));
    stream.write_all(first.as_bytes()).unwrap();
    (stream, second)
}

fn wait_until_closed(addr: SocketAddr) {
    for _ in 0..1000 {
        if TcpStream::connect(addr).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the server goes on accepting");
}

#[test]
fn sigterm_lets_open_requests_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let (mut stream, rest) = half_a_request(&server);
    server.signal(Signal::TERM);
    wait_until_closed(server.addr);
    assert!(server.child.try_wait().unwrap().is_none());
    stream.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_second_signal_cuts_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &["--shutdown-timeout", "3600"]);
    let (mut stream, _) = half_a_request(&server);
    server.signal(Signal::TERM);
    wait_until_closed(server.addr);
    server.signal(Signal::INT);
    assert_eq!(server.wait(), Some(0));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "");
}

/// Commands on the same machine trust the server's own authority by themselves; elsewhere they are told of it.
#[test]
fn commands_trust_the_authority() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("for-clients.pem");
    let options = ["--tls-self-signed", "--tls-authority-file", copy.to_str().unwrap()];
    let mut server = Server::start(&dir.path().join("data"), &options);
    assert!(server.url.starts_with("https://"), "{}", server.url);
    let list = |data_dir: &Path, ca_file: Option<&Path>| {
        let mut command = hearth(data_dir);
        command.args(["dataset", "list", "--url", &server.url]).env("HEARTH_API_KEY", &server.key);
        if let Some(file) = ca_file {
            command.arg("--ca-file").arg(file);
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let elsewhere = dir.path().join("elsewhere");
    assert_eq!(list(&dir.path().join("data"), None).0, Some(0));
    assert_eq!(list(&elsewhere, Some(&copy)).0, Some(0));
    assert_eq!(list(&elsewhere, None).0, Some(1));
    std::fs::write(dir.path().join("none.pem"), "nothing").unwrap();
    let (code, error) = list(&elsewhere, Some(&dir.path().join("none.pem")));
    assert!(code == Some(1) && error.contains("no certificate"), "{error}");
    // The certificate is read again, and the server goes on.
    server.signal(Signal::HUP);
    assert_eq!(list(&elsewhere, Some(&copy)).0, Some(0));
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn what_cannot_be_served_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let check = |options: &[&str], part: &str| {
        let output =
            hearth(dir.path()).args(["serve", "--listen", "127.0.0.1:0"]).args(options).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(part), "{options:?}: {error}");
    };
    check(&["--tls-cert", "/nowhere/cert.pem"], "--tls-key");
    check(&["--tls-cert", "/nowhere/cert.pem", "--tls-key", "/nowhere/key.pem"], "/nowhere/cert.pem");
    check(&["--tls-cert", "a", "--tls-key", "b", "--tls-self-signed"], "cannot be used with");
    check(&["--tls-name", "example.org"], "--tls-self-signed");
    check(&["--tls-self-signed", "--tls-name", "not a name"], "--tls-name");
    check(&["--public-url", "example.org/hearth"], "https://host");
    check(&["--rate", "chat=1/1"], "there is no class chat");
    check(&["--rate", "control=0/1"], "PER_MINUTE/BURST");
    check(&["--max-uploads", "0"], "--max-uploads");
}
