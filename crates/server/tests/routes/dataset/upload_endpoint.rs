//! `POST .../datasets/{dataset}:getUploadEndpoint` and the URLs that it signs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hearth_store::UrlSigner;
use serde_json::{Value, json};

use crate::server::{Server, rows};

/// Where the files of the dataset lie.
const FILES: &str = "objects/datasets/default/rows";
/// Longest wait for the server to notice something.
const PATIENCE: Duration = Duration::from_secs(20);
const DATASET: &str = "/v1/accounts/default/datasets/rows";

fn server() -> Server {
    let server = Server::start();
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "rows"})).ok();
    server
}

fn url(server: &Server, file: &str, size: Value) -> String {
    let body = json!({"filenameToSize": {file: size}});
    let reply = server.post(&format!("{DATASET}:getUploadEndpoint"), &body).ok();
    reply["filenameToSignedUrls"][file].as_str().unwrap().to_owned()
}

fn validate(server: &Server) -> (u16, Value) {
    let reply = server.post(&format!("{DATASET}:validateUpload"), &json!({}));
    (reply.status, reply.json())
}

#[test]
fn put_validate_ready() {
    let server = server();
    let rows = rows();
    let url = url(&server, "my rows.jsonl", json!(rows.len().to_string()));
    assert!(url.starts_with(&server.base), "{url}");
    let length = format!("{0},{0}", rows.len());
    let headers =
        [("content-type", "application/octet-stream"), ("x-goog-content-length-range", length.as_str())];
    let reply = server.request(&headers, "PUT", &url, rows.as_bytes());
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b""[..]));
    assert_eq!(validate(&server), (200, json!({})));
    assert_eq!(server.get(DATASET).ok()["state"], "READY");
    // READY twice is READY; files cannot change any more.
    assert_eq!(validate(&server), (200, json!({})));
    assert_eq!(server.request(&[], "PUT", &url, rows.as_bytes()).error().1, 9);
    let body = json!({"filenameToSize": {"b.jsonl": 1}});
    assert_eq!(server.post(&format!("{DATASET}:getUploadEndpoint"), &body).error().1, 9);
}

#[test]
fn each_call_replaces_the_set_of_files() {
    let server = server();
    let first = url(&server, "a.jsonl", json!(0));
    let second = url(&server, "b.jsonl", json!(0));
    let (status, code, message) = server.request(&[], "PUT", &first, rows().as_bytes()).error();
    assert!((status, code) == (404, 5) && message.contains("a.jsonl"), "{message}");
    let (status, error) = validate(&server);
    assert!(status == 400 && error["message"].as_str().unwrap().contains("b.jsonl"), "{error}");
    assert_eq!(server.request(&[], "PUT", &second, rows().as_bytes()).status, 200);
    assert_eq!(files(&server), ["b.jsonl"]);
    // What is not registered any more goes.
    let third = url(&server, "c.jsonl", json!(0));
    assert_eq!(files(&server), [""; 0]);
    assert_eq!(server.request(&[], "PUT", &third, rows().as_bytes()).status, 200);
    server.upload(&format!("{DATASET}:upload"), "d.jsonl", rows().as_bytes()).ok();
    assert_eq!(files(&server), ["d.jsonl"]);
}

#[test]
fn wrong_sizes_and_urls_store_nothing() {
    let server = server();
    let rows = rows();
    let url = url(&server, "a.jsonl", json!(rows.len() + 1));
    let put =
        |url: &str, headers: &[(&str, &str)]| server.request(headers, "PUT", url, rows.as_bytes()).error();
    assert_eq!(put(&url, &[]).0, 400);
    assert_eq!(put(&url, &[("x-goog-content-length-range", "1,2")]).0, 400);
    assert_eq!(put(&url, &[("x-goog-content-length-range", "many")]).0, 400);
    let altered = url.replace("a.jsonl", "b.jsonl");
    let denied = "signed url is not valid: it was altered or signed by another server";
    assert_eq!(put(&altered, &[]), (403, 7, denied.to_owned()));
    let (path, _) = url.split_once('?').unwrap();
    assert_eq!(put(path, &[]).0, 403);
    assert_eq!(put(&format!("{path}?expires=1&signature=00"), &[]).0, 403);
    let signer = UrlSigner::open(&server.dir.path().join("signing-key")).unwrap();
    let old = signer.sign("PUT", path.strip_prefix(&server.base).unwrap(), "", 1_700_000_000_000);
    let expired = "signed url has expired; ask for a new one";
    assert_eq!(put(&format!("{path}?{old}"), &[]), (403, 7, expired.to_owned()));
    // A URL for writing is not one for reading.
    assert_eq!(server.request(&[], "GET", &url, b"").error().0, 403);
    let (status, _, message) = server.request(&[], "POST", &url, b"x").error();
    assert_eq!((status, message.as_str()), (405, "method POST is not allowed here; allowed: GET, PUT"));
    assert!(!server.dir.path().join("objects/datasets/default/rows/a.jsonl").exists());
    assert_eq!(server.get(DATASET).ok()["state"], "UPLOADING");
}

#[test]
fn a_broken_upload_can_be_repeated() {
    let server = server();
    let rows = rows();
    let url = url(&server, "a.jsonl", json!(rows.len()));
    let path = url.strip_prefix(&server.base).unwrap();
    let address = server.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let half = &rows[..rows.len() / 2];
    write!(stream, "PUT {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{half}", rows.len())
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // The server closes the connection when it has seen that no more comes.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(server.get(DATASET).ok()["state"], "UPLOADING");
    assert_eq!(validate(&server).0, 400);
    assert_eq!(server.request(&[], "PUT", &url, rows.as_bytes()).status, 200);
    assert_eq!(validate(&server).0, 200);
}

/// A PUT of which only a part was sent.
struct SlowPut {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl SlowPut {
    /// Returns when the server has begun to store the bytes.
    fn begin(server: &Server, url: &str, bytes: &[u8]) -> Self {
        let path = url.strip_prefix(&server.base).unwrap();
        let address = server.base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "PUT {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n", bytes.len())
            .unwrap();
        stream.write_all(b"connection: close\r\n\r\n").unwrap();
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        stream.write_all(first).unwrap();
        let end = Instant::now() + PATIENCE;
        while !files(server).iter().any(|name| name.contains('#')) {
            assert!(Instant::now() < end, "the upload never begins");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { stream, rest: rest.to_vec() }
    }

    /// Sends the rest and returns the reply.
    fn end(mut self) -> String {
        self.stream.write_all(&self.rest).unwrap();
        let mut reply = String::new();
        self.stream.read_to_string(&mut reply).unwrap();
        reply
    }
}

/// Names of what lies in the dataset's directory.
fn files(server: &Server) -> Vec<String> {
    let Ok(found) = std::fs::read_dir(server.dir.path().join(FILES)) else { return Vec::new() };
    found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_late_upload_does_not_change_a_ready_dataset() {
    let server = server();
    let rows = rows();
    let url = url(&server, "a.jsonl", json!(rows.len()));
    let late = SlowPut::begin(&server, &url, &vec![b'x'; rows.len()]);
    assert_eq!(server.request(&[], "PUT", &url, rows.as_bytes()).status, 200);
    assert_eq!(validate(&server).0, 200);
    let reply = late.end();
    assert!(reply.starts_with("HTTP/1.1 400") && reply.contains("is READY"), "{reply}");
    assert_eq!(files(&server), ["a.jsonl"]);
    let stored = std::fs::read_to_string(server.dir.path().join(FILES).join("a.jsonl")).unwrap();
    assert_eq!(stored, rows);
}

#[test]
fn a_late_upload_leaves_nothing_of_a_deleted_dataset() {
    let server = server();
    let rows = rows();
    let url = url(&server, "a.jsonl", json!(rows.len()));
    let late = SlowPut::begin(&server, &url, rows.as_bytes());
    server.send("DELETE", DATASET, b"").ok();
    let reply = late.end();
    assert!(reply.starts_with("HTTP/1.1 404"), "{reply}");
    assert!(!server.dir.path().join(FILES).exists(), "{:?}", files(&server));
}

#[test]
fn names_and_counts_are_checked() {
    let server = server();
    let check = |sizes: Value, part: &str| {
        let body = json!({ "filenameToSize": sizes });
        let (status, _, message) = server.post(&format!("{DATASET}:getUploadEndpoint"), &body).error();
        assert!(status == 400 && message.contains(part), "{sizes}: {message}");
    };
    check(json!({}), "has 0 files");
    check(json!({"../a.jsonl": 1}), "file name");
    check(json!({"a.csv": 1}), ".jsonl");
    check(json!({"a.jsonl": -1}), "size -1");
    check(json!({"a.jsonl": "x"}), "line 1 column");
    check(json!({"a.jsonl": 1, "A.jsonl": 1}), "capital letters");
    check(json!({"a\u{0}.jsonl": 1}), "file name");
    check(json!({"a\\b.jsonl": 1}), "file name");
    check(json!({"a/../b.jsonl": 1}), "file name");
    check(json!({"..jsonl": 1}), "file name");
    check(json!({format!("{}.jsonl", "a".repeat(195)): 1}), "file name");
    check(json!({format!("{}.jsonl", "é".repeat(33)): 1}), "file name");
    let many = |count: usize| (0..count).map(|i| (format!("{i}.jsonl"), json!(1))).collect();
    check(Value::Object(many(257)), "has 257 files");
    let body = json!({"filenameToSize": Value::Object(many(256))});
    let urls = server.post(&format!("{DATASET}:getUploadEndpoint"), &body).ok();
    assert_eq!(urls["filenameToSignedUrls"].as_object().unwrap().len(), 256);
}

/// Hostile names that are plain file names all the same.
#[test]
fn names_come_back_as_they_were() {
    let server = server();
    let long = format!("{}.jsonl", "a".repeat(194));
    let names = [
        "%2e%2e%2fa.jsonl",
        "a b+c&d=e?#.jsonl",
        "~$(id);'\"`.jsonl",
        "çöü 数据.jsonl",
        "a.jsonl.jsonl",
        "con.jsonl",
        "-rf.jsonl",
        &long,
    ];
    let rows = rows();
    let sizes: Value = names.iter().map(|name| ((*name).to_owned(), json!(rows.len()))).collect();
    let urls = server.post(&format!("{DATASET}:getUploadEndpoint"), &json!({"filenameToSize": sizes})).ok();
    for name in names {
        let url = urls["filenameToSignedUrls"][name].as_str().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(server.request(&[], "PUT", url, rows.as_bytes()).status, 200, "{name}");
    }
    assert_eq!(validate(&server), (200, json!({})));
    assert_eq!(files(&server).len(), names.len());
    let urls = server.get(&format!("{DATASET}:getDownloadEndpoint")).ok();
    for name in names {
        let url = urls["filenameToSignedUrls"][name].as_str().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(server.request(&[], "GET", url, b"").body, rows.as_bytes(), "{name}");
    }
}

/// What fireworks-ai does in a long series of uploads: it asks for all URLs again.
#[test]
fn files_that_are_there_stay_when_urls_are_asked_for_again() {
    let server = server();
    let two: String = rows().lines().take(2).map(|line| format!("{line}\n")).collect();
    let ask = |sizes: Value| {
        server.post(&format!("{DATASET}:getUploadEndpoint"), &json!({"filenameToSize": sizes})).ok()
            ["filenameToSignedUrls"]
            .clone()
    };
    let put =
        |urls: &Value, name: &str| server.request(&[], "PUT", urls[name].as_str().unwrap(), two.as_bytes());
    let size = two.len();
    let urls = ask(json!({"a.jsonl": size, "b.jsonl": size}));
    assert_eq!(put(&urls, "a.jsonl").status, 200);
    let urls = ask(json!({"a.jsonl": size, "b.jsonl": size}));
    assert_eq!(put(&urls, "b.jsonl").status, 200);
    // A file of another size is another file.
    let shown = |sizes: Value| {
        ask(sizes);
        let dataset = server.get(DATASET).ok();
        let there = |file: &Value| (file["sizeBytes"].clone(), file["sha256"] != "");
        dataset["files"].as_array().unwrap().iter().map(there).collect::<Vec<_>>()
    };
    let is = json!(size.to_string());
    assert_eq!(shown(json!({"a.jsonl": size, "b.jsonl": 0})), [(is.clone(), true), (is.clone(), true)]);
    assert_eq!(shown(json!({"a.jsonl": size, "b.jsonl": 7})), [(is, true), (json!("7"), false)]);
    assert_eq!(validate(&server).0, 400);
    let urls = ask(json!({"a.jsonl": size, "b.jsonl": size}));
    assert_eq!(put(&urls, "b.jsonl").status, 200);
    assert_eq!(validate(&server), (200, json!({})));
    let dataset = server.get(DATASET).ok();
    assert_eq!((&dataset["exampleCount"], &dataset["files"][1]["name"]), (&json!("4"), &json!("b.jsonl")));
    use sha2::Digest;
    let sha256 = hex::encode(sha2::Sha256::digest(&two));
    assert_eq!(dataset["files"][0]["sha256"], sha256);
}
