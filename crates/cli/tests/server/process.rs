//! `hearth` as a process, and a server of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::tiny;

/// A `hearth` that sees no environment of the user but what it needs.
pub fn hearth(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    for name in [
        "HEARTH_URL",
        "HEARTH_API_KEY",
        "HEARTH_ACCOUNT_ID",
        "HEARTH_CA_FILE",
        "HEARTH_PUBLIC_URL",
        "HEARTH_SECRETS_KEYS",
    ] {
        command.env_remove(name);
    }
    command.env("HEARTH_DATA_DIR", data_dir);
    command
}

/// A server process; it is killed when it is dropped.
pub struct Server {
    pub child: Child,
    pub url: String,
    pub addr: SocketAddr,
    pub key: String,
}

impl Server {
    /// One with a tiny base, and the directory that it lies in; its data are in `data`, the base in `base`.
    pub fn with_tiny_base() -> (tempfile::TempDir, Self) {
        let dir = tempfile::tempdir().unwrap();
        let (data, base) = (dir.path().join("data"), dir.path().join("base"));
        tiny::write_base(&base, 1);
        let imported = run(hearth(&data).args(["model", "import", "tiny", base.to_str().unwrap()]), "");
        assert_eq!(imported.code, Some(0), "{}", imported.error);
        let server = Self::start(&data, &[]);
        (dir, server)
    }

    pub fn start(data_dir: &Path, options: &[&str]) -> Self {
        let mut child = hearth(data_dir)
            .args(["serve", "--listen", "127.0.0.1:0", "--json"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The object is written over several lines.
        let mut text = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let started: Value = loop {
            text.push_str(&lines.next().expect("the server starts").unwrap());
            if let Ok(started) = serde_json::from_str(&text) {
                break started;
            }
        };
        let url = started["url"].as_str().unwrap().to_owned();
        let addr = url.split_once("://").unwrap().1.parse().unwrap();
        let key =
            std::fs::read_to_string(started["api_key_path"].as_str().unwrap()).unwrap().trim().to_owned();
        Self { child, url, addr, key }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

/// What a command gave.
pub struct Answer {
    pub code: Option<i32>,
    pub out: String,
    pub error: String,
}

/// Runs a command with this standard input.
pub fn run(command: &mut Command, input: &str) -> Answer {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that fails before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Answer {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Server {
    /// Runs a command against this server, with the operator's key.
    pub fn run(&self, data_dir: &Path, args: &[&str], input: &str) -> Answer {
        let mut command = hearth(data_dir);
        run(command.args(args).env("HEARTH_URL", &self.url).env("HEARTH_API_KEY", &self.key), input)
    }
}

impl Server {
    /// Status and body of a `POST`.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        self.call("POST", path, &more, &body)
    }

    /// Status and body of a call without a body.
    pub fn bare(&self, method: &str, path: &str) -> (u16, Value) {
        self.call(method, path, "", "")
    }

    fn call(&self, method: &str, path: &str, more: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            self.key
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
