//! `POST .../models/{model}:getUploadEndpoint`, and the URLs that it signs.

use serde_json::{Value, json};

use crate::server::{Reply, Server};

const MODEL: &str = "/v1/accounts/default/models/m";

fn server() -> Server {
    let server = Server::start();
    create(&server);
    server
}

fn create(server: &Server) {
    let body = json!({"modelId": "m", "model": {"kind": "HF_BASE_MODEL"}});
    server.post("/v1/accounts/default/models", &body).ok();
}

fn endpoint(server: &Server, body: Value) -> Reply {
    server.post(&format!("{MODEL}:getUploadEndpoint"), &body)
}

fn url(server: &Server, file: &str, size: usize, resumable: bool) -> String {
    let body = json!({"filenameToSize": {file: size.to_string()}, "enableResumableUpload": resumable});
    let reply = endpoint(server, body).ok();
    assert_eq!(reply["filenameToUnsignedUris"], json!({}));
    reply["filenameToSignedUrls"][file].as_str().unwrap().to_owned()
}

fn there(server: &Server, file: &str) -> Option<Vec<u8>> {
    std::fs::read(server.dir.path().join("uploads/default/m/files").join(file)).ok()
}

/// Begins a resumable upload; the URL of its session.
fn start(server: &Server, url: &str) -> String {
    let reply = server.request(&[("x-goog-resumable", "start"), ("content-length", "0")], "POST", url, b"");
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    reply.headers["location"].clone()
}

fn piece(server: &Server, session: &str, range: &str, bytes: &[u8]) -> (u16, Option<String>) {
    let reply = server.request(&[("content-range", range)], "PUT", session, bytes);
    (reply.status, reply.headers.get("range").cloned())
}

#[test]
fn a_whole_file_in_one_put() {
    let server = server();
    let url = url(&server, "onnx/a b.json", 5, false);
    assert!(url.contains("/signed/models/default/m/onnx/a%20b.json?"), "{url}");
    let put = |url: &str, bytes: &[u8]| server.request(&[], "PUT", url, bytes);
    assert_eq!(put(&url, b"1234").error().1, 3);
    assert_eq!(there(&server, "onnx/a b.json"), None);
    let reply = put(&url, b"12345");
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_eq!(there(&server, "onnx/a b.json").unwrap(), b"12345");
    // Again, with other bytes: until the model is READY a file can be sent anew.
    assert_eq!(put(&url, b"54321").status, 200);
    assert_eq!(there(&server, "onnx/a b.json").unwrap(), b"54321");
    assert_eq!(put(&url.replace("signature=", "signature=0"), b"12345").error().1, 7);
    assert_eq!(put(&url.replace("a%20b", "ab"), b"12345").error().1, 7);
    assert_eq!(server.request(&[], "POST", &url, b"").error().1, 7);
    let wrong = server.request(&[("x-goog-content-length-range", "9,9")], "PUT", &url, b"12345");
    assert_eq!(wrong.error().1, 3);
    assert_eq!(server.request(&[], "PATCH", &url, b"").status, 405);
}

#[test]
fn a_resumable_upload_goes_on_over_restarts() {
    let server = server();
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let (file, size) = ("model.safetensors", content.len());
    let url = url(&server, file, size, true);
    assert_eq!(server.request(&[], "POST", &url, b"").error().1, 3);
    let session = start(&server, &url);
    assert_eq!(piece(&server, &session, &format!("bytes */{size}"), b""), (308, None));
    let range = |first: usize, end: usize| format!("bytes {first}-{}/{size}", end - 1);
    let sent = piece(&server, &session, &range(0, 1_000_000), &content[..1_000_000]);
    assert_eq!(sent, (308, Some("bytes=0-999999".to_owned())));
    // A gap, another size, an altered session.
    assert_eq!(piece(&server, &session, &range(1_500_000, 2_000_000), &content[1_500_000..2_000_000]).0, 400);
    assert_eq!(piece(&server, &session, "bytes 1000000-1000001/7", b"xx").0, 400);
    assert_eq!(piece(&server, &session, "bytes 1000000-1000003/*", b"xx").0, 400);
    let altered = session.replace("upload_id=", "upload_id=0");
    assert_eq!(piece(&server, &altered, "bytes */*", b"").0, 403);
    assert_eq!(there(&server, file), None);

    let server = Server::start_in(server.stop());
    let session = session.replace(session.split("/signed").next().unwrap(), &server.base);
    let asked = piece(&server, &session, "bytes */*", b"");
    // Two bytes came in the piece that said four.
    assert_eq!(asked, (308, Some("bytes=0-1000001".to_owned())));
    // What is there may be sent again.
    let sent = piece(&server, &session, &range(500_000, 2_000_000), &content[500_000..2_000_000]);
    assert_eq!(sent, (308, Some("bytes=0-1999999".to_owned())));
    // The same files registered again: the session goes on.
    endpoint(&server, json!({"filenameToSize": {file: size}})).ok();
    assert_eq!(piece(&server, &session, &range(2_000_000, size), &content[2_000_000..]), (200, None));
    assert_eq!(there(&server, file).unwrap(), content);
    // The last answer was lost: asked again, it is the same.
    assert_eq!(piece(&server, &session, &format!("bytes */{size}"), b""), (200, None));
}

#[test]
fn one_session_of_a_file_lives_and_can_be_given_up() {
    let server = server();
    let url = url(&server, "config.json", 4, true);
    let (old, new) = (start(&server, &url), start(&server, &url));
    assert_eq!(piece(&server, &old, "bytes 0-3/4", b"1234").0, 404);
    assert_eq!(piece(&server, &new, "bytes 0-1/4", b"12").0, 308);
    assert_eq!(server.request(&[], "DELETE", &new, b"").status, 204);
    assert_eq!(piece(&server, &new, "bytes 2-3/4", b"34").0, 404);
    // Without a range, a session takes the whole file.
    let session = start(&server, &url);
    assert_eq!(server.request(&[], "PUT", &session, b"123").status, 400);
    assert_eq!(server.request(&[], "PUT", &session, b"1234").status, 200);
    assert_eq!(there(&server, "config.json").unwrap(), b"1234");
    // Another set of files: what does not belong to it goes.
    endpoint(&server, json!({"filenameToSize": {"config.json": 4, "b.json": 1}})).ok();
    assert!(there(&server, "config.json").is_some());
    endpoint(&server, json!({"filenameToSize": {"config.json": 5}})).ok();
    assert!(there(&server, "config.json").is_none());
    assert_eq!(piece(&server, &session, "bytes */5", b"").0, 404);
}

#[test]
fn hostile_names_and_pickles_are_named_together() {
    let server = server();
    let files = json!({"../x": 1, "a/b/c": 1, "pytorch_model.bin": 1, "hearth-model.json": 1, "ok.json": -1});
    let (status, code, message) = endpoint(&server, json!({"filenameToSize": files})).error();
    assert_eq!((status, code), (400, 3));
    for piece in ["../x", "a/b/c", "pytorch_model.bin\" is a pickle", "hearth-model.json", "size -1"] {
        assert!(message.contains(piece), "{piece}: {message}");
    }
    assert_eq!(endpoint(&server, json!({"filenameToSize": {}})).error().1, 3);
    assert_eq!(endpoint(&server, json!({})).error().1, 3);
    let none = server
        .post("/v1/accounts/default/models/none:getUploadEndpoint", &json!({"filenameToSize": {"a": 1}}));
    assert_eq!(none.status, 404);
}

#[test]
fn a_deleted_model_takes_no_more_bytes() {
    let server = server();
    let url = url(&server, "config.json", 4, true);
    let session = start(&server, &url);
    server.delete(MODEL).ok();
    assert_eq!(piece(&server, &session, "bytes 0-3/4", b"1234").0, 404);
    assert!(!server.dir.path().join("uploads/default/m").exists());
}
