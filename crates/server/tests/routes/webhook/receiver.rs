//! A receiver of webhooks for tests. It lives as long as the test's process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// Whether it is signed with this secret.
    pub fn is_signed(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let (id, time) = (&self.headers["webhook-id"], &self.headers["webhook-timestamp"]);
        mac.update(format!("{id}.{time}.{}", self.body).as_bytes());
        self.headers["webhook-signature"] == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    shared: Arc<Mutex<(Vec<Seen>, String)>>,
}

impl Receiver {
    /// Answers with 204 until it is told otherwise.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = Self { url, shared: Arc::new(Mutex::new((Vec::new(), "204 No Content".to_owned()))) };
        let of_thread = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let receiver = of_thread.clone();
                std::thread::spawn(move || receiver.answer(stream.unwrap()));
            }
        });
        receiver
    }

    /// Status line, perhaps with header fields behind it.
    pub fn answers(&self, status: &str) {
        self.shared.lock().unwrap().1 = status.to_owned();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().unwrap().0.clone()
    }

    /// Waits until so many requests came.
    pub fn until(&self, count: usize) -> Vec<Seen> {
        let end = Instant::now() + PATIENCE;
        while self.seen().len() < count {
            assert!(Instant::now() < end, "{count} requests never came: {:?}", self.seen());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.seen()
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap().to_owned();
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let status = {
            let mut shared = self.shared.lock().unwrap();
            shared.0.push(Seen { path, headers, body: String::from_utf8(body).unwrap() });
            shared.1.clone()
        };
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
}
