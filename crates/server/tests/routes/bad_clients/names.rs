//! Paths and file names that want to be elsewhere: none of them is written or read.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{ask, head, status, still_answers};
use crate::server::{Server, rows};

const DATASETS: &str = "/v1/accounts/default/datasets";

/// File names that are none. `MARK` begins those that would be absolute.
fn hostile(mark: &Path) -> Vec<String> {
    let mark = mark.display();
    let mut names: Vec<String> = [
        "",
        ".",
        "..",
        ".jsonl",
        "../evil.jsonl",
        "../../../evil.jsonl",
        "a/../evil.jsonl",
        "a/evil.jsonl",
        "/evil.jsonl",
        "..\\evil.jsonl",
        "a\\evil.jsonl",
        "C:\\evil.jsonl",
        "\\\\host\\evil.jsonl",
        ".hidden.jsonl",
        "evil\0.jsonl",
        "evil.jsonl\0.png",
        "evil\n.jsonl",
        "evil\r\nX: y.jsonl",
        "evil\u{7f}.jsonl",
        "evil\u{1b}[2J.jsonl",
        "evil.jsonl/",
        "evil.jsonl/.",
        "evil.exe",
        "evil.jsonl.exe",
        "evil.JSONL",
    ]
    .map(str::to_owned)
    .into();
    names.push(format!("{}.jsonl", "x".repeat(300)));
    names.push(format!("{mark}/evil.jsonl"));
    names.push(format!("../../../../../../../../../..{mark}/evil.jsonl"));
    names
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// A server whose data directory has a directory around it, in which nothing may appear.
struct Fenced {
    server: Server,
    outside: tempfile::TempDir,
    before: Vec<PathBuf>,
}

impl Fenced {
    fn start() -> Self {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir_in(outside.path()).unwrap();
        let server = Server::start_in(inside);
        server.post(DATASETS, &json!({"datasetId": "rows"})).ok();
        let before = Self::kept(files(outside.path()));
        Self { server, outside, before }
    }

    /// Without what the database and this test's uploads may change.
    fn kept(mut files: Vec<PathBuf>) -> Vec<PathBuf> {
        files.retain(|file| !file.to_string_lossy().contains("hearth.db"));
        files
    }

    #[track_caller]
    fn nothing_new(&self) {
        assert_eq!(Self::kept(files(self.outside.path())), self.before);
        still_answers(&self.server);
    }
}

#[test]
fn file_names_in_forms() {
    let fenced = Fenced::start();
    let upload = format!("{DATASETS}/rows:upload");
    // Line breaks end the header of the part.
    for name in hostile(fenced.outside.path()).iter().filter(|name| !name.contains(['\r', '\n'])) {
        let quoted = name.replace('\\', "\\\\");
        let reply = fenced.server.upload(&upload, &quoted, rows().as_bytes());
        assert_eq!(reply.status, 400, "{name:?}: {}", String::from_utf8_lossy(&reply.body));
        assert_eq!(fenced.server.get(&format!("{DATASETS}/rows")).ok()["state"], "UPLOADING", "{name:?}");
    }
    fenced.nothing_new();
}

#[test]
fn file_names_for_signed_urls() {
    let fenced = Fenced::start();
    for name in hostile(fenced.outside.path()) {
        let body = json!({"filenameToSize": {&name: 10}});
        let (status, code, message) =
            fenced.server.post(&format!("{DATASETS}/rows:getUploadEndpoint"), &body).error();
        assert_eq!((status, code), (400, 3), "{name:?}: {message}");
    }
    fenced.nothing_new();
}

/// Files of models may have a folder, so other names are allowed; those that are, stay in the model's own directory.
#[test]
fn file_names_of_models() {
    let fenced = Fenced::start();
    let server = &fenced.server;
    let model = json!({"modelId": "m", "model": {"kind": "HF_BASE_MODEL"}});
    server.post("/v1/accounts/default/models", &model).ok();
    let mut taken = 0;
    for name in hostile(fenced.outside.path()) {
        let body = json!({"filenameToSize": {&name: 3}});
        let reply = server.post("/v1/accounts/default/models/m:getUploadEndpoint", &body);
        let is_elsewhere = name.starts_with('/')
            || name.split('/').any(|part| matches!(part, "" | "." | ".."))
            || name.chars().any(char::is_control);
        if reply.status == 200 {
            assert!(!is_elsewhere, "{name:?} was taken");
            let url = reply.json()["filenameToSignedUrls"][&name].as_str().unwrap().to_owned();
            let put = server.request(&[], "PUT", &url, b"{}\n");
            assert!([200, 400, 403, 404].contains(&put.status), "{name:?}: {}", put.status);
            taken += 1;
        } else {
            assert_eq!((reply.status, reply.error().1), (400, 3), "{name:?}");
        }
    }
    assert!(taken > 0, "some names are plain for a model");
    let own = server.dir.path().join("uploads");
    let mut found = Fenced::kept(files(fenced.outside.path()));
    found.retain(|file| !file.starts_with(&own));
    assert_eq!(found, fenced.before);
    still_answers(server);
}

/// A signature is for one path as it is written; every other writing of it is another path.
#[test]
fn altered_paths_of_signed_urls() {
    let fenced = Fenced::start();
    let server = &fenced.server;
    let files = json!({"filenameToSize": {"a.jsonl": 0}});
    let urls = server.post(&format!("{DATASETS}/rows:getUploadEndpoint"), &files).ok();
    let url = urls["filenameToSignedUrls"]["a.jsonl"].as_str().unwrap();
    let (_, query) = url.split_once('?').unwrap();
    for path in [
        "/signed/datasets/default/rows/../../../evil.jsonl",
        "/signed/datasets/default/rows/..%2f..%2fevil.jsonl",
        "/signed/datasets/default/rows/%2e%2e%2fevil.jsonl",
        "/signed/datasets/default/rows/%2e%2e/evil.jsonl",
        "/signed/datasets/default/%2e%2e/evil.jsonl",
        "/signed/datasets/%2e%2e/%2e%2e/evil.jsonl",
        "/signed/datasets/default/rows/%2fetc%2fpasswd",
        "/signed/datasets/default/rows/..%5cevil.jsonl",
        "/signed/datasets/default/rows/a.jsonl%00",
        "/signed/datasets/default/rows/%61.jsonl",
        "/signed/datasets/default/rows//a.jsonl",
        "/signed/datasets/default/./rows/a.jsonl",
        "/signed/datasets/default/rows/a.jsonl/..",
        "/signed/models/default/..%2f..%2f/api-key",
        "/signed/models/..%2f/x/api-key",
        "/signed/runs/default/../trainer.log",
        "/signed/datasets/default/rows/..%2f..%2f..%2f..%2fapi-key",
        "/signed/datasets/default/rows/%ff.jsonl",
    ] {
        for method in ["GET", "PUT"] {
            // No client library may tidy the path up.
            let length = if method == "PUT" { "Content-Length: 3\r\n" } else { "" };
            let body = if method == "PUT" { "{}\n" } else { "" };
            let request = format!(
                "{}{length}Connection: close\r\n\r\n{body}",
                head(server, method, &format!("{path}?{query}"))
            );
            let answer = ask(server, request.as_bytes());
            assert!([400, 403, 404, 405].contains(&status(&answer)), "{method} {path}: {answer}");
            assert!(!answer.contains(&server.key), "{method} {path}");
        }
    }
    fenced.nothing_new();
    assert_eq!(server.request(&[], "PUT", url, rows().as_bytes()).status, 200);
}

/// Names of resources become directories.
#[test]
fn names_of_resources() {
    let fenced = Fenced::start();
    let server = &fenced.server;
    for id in [
        "..",
        ".",
        "../x",
        "a/b",
        "a\\b",
        "a\0",
        "",
        "%2e%2e",
        "/etc",
        "a.b",
        "A",
        "a_b",
        "1a",
        &"x".repeat(64),
    ] {
        if id.is_empty() {
            continue;
        }
        let reply = server.post(DATASETS, &json!({"datasetId": id}));
        assert_eq!((reply.status, reply.error().1), (400, 3), "{id:?}");
        let reply = server.post("/v1/accounts", &json!({"accountId": id, "account": {}}));
        assert_eq!((reply.status, reply.error().1), (400, 3), "{id:?}");
    }
    for path in [
        "/v1/accounts/default/datasets/..%2f..%2frows:upload",
        "/v1/accounts/..%2f/datasets/rows:upload",
        "/v1/accounts/default/datasets/%2e%2e:upload",
        "/v1/accounts/default/datasets/rows%00:upload",
    ] {
        let reply = server.upload(path, "a.jsonl", rows().as_bytes());
        assert!([400, 403, 404].contains(&reply.status), "{path}: {}", reply.status);
    }
    fenced.nothing_new();
}
