//! A small S3 service for tests: lists of two keys a page, ranges, tags, and signatures that must be there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// The one bucket.
pub const BUCKET: &str = "models.example";
/// The key that opens it, if it is not public.
pub const KEY_ID: &str = "AKIDEXAMPLE";
/// Keys of one page of a list.
const PAGE_KEYS: usize = 2;

/// What a request said.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Path and query.
    pub target: String,
    /// First byte of the range that was asked for.
    pub first: Option<u64>,
    /// Header `authorization`.
    pub authorization: Option<String>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    seen: Vec<Seen>,
    is_public: bool,
    /// Answers with this key break off in the middle, so often.
    breaks: BTreeMap<String, usize>,
    /// Answers with this key, from this byte on, wait.
    held: Option<(String, u64)>,
    waiting: usize,
    refuses: Option<(u16, &'static str)>,
}

/// The service. It lives as long as the test's process.
#[derive(Clone)]
pub struct FakeS3 {
    pub url: String,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl FakeS3 {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Self { url, shared: Arc::default() };
        let of_thread = service.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let service = of_thread.clone();
                std::thread::spawn(move || service.answer(stream.unwrap()));
            }
        });
        service
    }

    pub fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.state(|state| state.objects.insert(key.to_owned(), bytes.into()));
    }

    /// Puts all files of a folder.
    pub fn put_dir(&self, prefix: &str, dir: &std::path::Path) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            self.put(
                &format!("{prefix}/{}", entry.file_name().to_str().unwrap()),
                std::fs::read(entry.path()).unwrap(),
            );
        }
    }

    pub fn open_to_all(&self) {
        self.state(|state| state.is_public = true);
    }

    pub fn break_off(&self, key: &str, times: usize) {
        self.state(|state| state.breaks.insert(key.to_owned(), times));
    }

    /// Lets answers wait until [`FakeS3::release`].
    pub fn hold(&self, key: &str, first: u64) {
        self.state(|state| state.held = Some((key.to_owned(), first)));
    }

    /// Waits until a request waits.
    pub fn until_held(&self) {
        let (state, changed) = &*self.shared;
        let held =
            changed.wait_timeout_while(state.lock().unwrap(), std::time::Duration::from_secs(30), |state| {
                state.waiting == 0
            });
        assert!(!held.unwrap().1.timed_out(), "nobody asks for what is held");
    }

    pub fn release(&self) {
        self.state(|state| state.held = None);
        self.shared.1.notify_all();
    }

    /// From now on every answer has this status and code.
    pub fn refuse(&self, status: u16, code: &'static str) {
        self.state(|state| state.refuses = Some((status, code)));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state(|state| state.seen.clone())
    }

    pub fn forget_seen(&self) {
        self.state(|state| state.seen.clear());
    }

    fn state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.shared.0.lock().unwrap())
    }

    /// One request on a connection.
    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let Some(Ok(first_line)) = lines.next() else { return };
        let mut headers = BTreeMap::new();
        for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let target = first_line.split(' ').nth(1).unwrap().to_owned();
        let range = headers.get("range").map(|range| {
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            (first.parse::<u64>().unwrap(), last.parse::<u64>().unwrap())
        });
        let authorization = headers.get("authorization").cloned();
        let first = range.map(|range| range.0);
        let (is_open, refuses) = self.state(|state| {
            state.seen.push(Seen { target: target.clone(), first, authorization: authorization.clone() });
            (state.is_public, state.refuses)
        });
        if let Some((status, code)) = refuses {
            return error(&mut stream, status, code);
        }
        if !is_open && !is_signed(&headers) {
            return error(&mut stream, 403, "AccessDenied");
        }
        let path = target.split('?').next().unwrap().trim_start_matches('/').to_owned();
        match path.strip_prefix(&format!("{BUCKET}/")) {
            Some(key) if !key.is_empty() => self.object(&mut stream, key, range, headers.get("if-match")),
            _ if path.trim_end_matches('/') == BUCKET => self.list(&mut stream, &target),
            _ => error(&mut stream, 404, "NoSuchBucket"),
        }
    }

    fn object(&self, stream: &mut TcpStream, key: &str, range: Option<(u64, u64)>, tag: Option<&String>) {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap();
        let is_held = |state: &State| {
            state
                .held
                .as_ref()
                .is_some_and(|(held, from)| held == key && range.is_some_and(|(first, _)| first >= *from))
        };
        while is_held(&state) {
            state.waiting += 1;
            changed.notify_all();
            state = changed.wait(state).unwrap();
            state.waiting -= 1;
        }
        drop(state);
        let Some(bytes) = self.state(|state| state.objects.get(key).cloned()) else {
            return error(stream, 404, "NoSuchKey");
        };
        if tag.is_some_and(|tag| *tag != e_tag(&bytes)) {
            return error(stream, 412, "PreconditionFailed");
        }
        let (first, last) = range.expect("an import asks for ranges");
        let last = last.min(bytes.len() as u64 - 1);
        let body = &bytes[first as usize..=last as usize];
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {first}-{last}/{}\r\n\
             etag: {}\r\nlast-modified: Mon, 02 Nov 2026 10:00:00 GMT\r\nconnection: close\r\n\r\n",
            body.len(),
            bytes.len(),
            e_tag(&bytes),
        );
        let mut state = self.shared.0.lock().unwrap();
        let left = state.breaks.get_mut(key).filter(|left| **left > 0);
        let breaks = left.map(|left| *left -= 1).is_some();
        drop(state);
        let sent = if breaks { &body[..body.len() / 2] } else { body };
        // Who stopped does not read to the end.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
    }

    fn list(&self, stream: &mut TcpStream, target: &str) {
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(target.split_once('?').unwrap().1.as_bytes())
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
        assert_eq!(query["list-type"], "2");
        let prefix = query.get("prefix").cloned().unwrap_or_default();
        let after = query.get("continuation-token").cloned().unwrap_or_default();
        let found: Vec<(String, usize, String)> = self.state(|state| {
            let objects = state.objects.iter();
            let wanted = objects.filter(|(key, _)| key.starts_with(&prefix) && **key > after);
            wanted.map(|(key, bytes)| (key.clone(), bytes.len(), e_tag(bytes))).collect()
        });
        let page = &found[..found.len().min(PAGE_KEYS)];
        let contents: String = page
            .iter()
            .map(|(key, size, tag)| {
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-11-02T10:00:00.000Z</LastModified>\
                     <ETag>{}</ETag><Size>{size}</Size></Contents>",
                    tag.replace('"', "&quot;")
                )
            })
            .collect();
        let more = if found.len() > page.len() {
            format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>",
                page.last().unwrap().0
            )
        } else {
            "<IsTruncated>false</IsTruncated>".to_owned()
        };
        let body = format!(
            "<?xml version=\"1.0\"?><ListBucketResult><Name>{BUCKET}</Name><Prefix>{prefix}</Prefix>\
             <KeyCount>{}</KeyCount><MaxKeys>{PAGE_KEYS}</MaxKeys>{more}{contents}</ListBucketResult>",
            page.len()
        );
        respond(stream, 200, &body);
    }
}

/// The parts of a signature of version 4.
fn is_signed(headers: &BTreeMap<String, String>) -> bool {
    let Some(authorization) = headers.get("authorization") else { return false };
    let has = |part: &str| authorization.contains(part);
    let signature = authorization.rsplit_once("Signature=").map(|(_, signature)| signature);
    authorization.starts_with("AWS4-HMAC-SHA256 ")
        && has(&format!("Credential={KEY_ID}/"))
        && has("/us-east-1/s3/aws4_request")
        && has("SignedHeaders=host;")
        && has("x-amz-content-sha256;x-amz-date")
        && signature.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        && headers.contains_key("x-amz-date")
}

fn e_tag(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    format!("\"{}\"", hex::encode(&Sha256::digest(bytes)[..16]))
}

fn error(stream: &mut TcpStream, status: u16, code: &str) {
    respond(
        stream,
        status,
        &format!(
            "<Error><Code>{code}</Code><Message>m</Message><AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId></Error>"
        ),
    );
}

fn respond(stream: &mut TcpStream, status: u16, body: &str) {
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}
