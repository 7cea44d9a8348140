//! Bodies that are too long, too short, or not what they say.

use std::io::Write;

use hearth_server::limits::CONTROL_BODY_MAX_BYTES;
use serde_json::json;

use super::{ask, body, connect, head, read_to_the_end, send, status, still_answers};
use crate::server::{Server, rows};

const DATASETS: &str = "/v1/accounts/default/datasets";

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// A server with an open dataset, and the path of a signed URL for a file of it.
fn server() -> (Server, String) {
    let server = Server::start();
    server.post(DATASETS, &json!({"datasetId": "rows"})).ok();
    let files = json!({"filenameToSize": {"a.jsonl": rows().len()}});
    let urls = server.post(&format!("{DATASETS}/rows:getUploadEndpoint"), &files).ok();
    let url = urls["filenameToSignedUrls"]["a.jsonl"].as_str().unwrap();
    let path = url.strip_prefix(&server.base).unwrap().to_owned();
    (server, path)
}

fn stored(server: &Server) -> usize {
    std::fs::read_dir(server.dir.path().join("objects/datasets/default/rows")).map_or(0, Iterator::count)
}

#[test]
fn a_body_in_chunks_is_held_to_the_limit_too() {
    let (server, put) = server();
    for (path, expect) in [(DATASETS, "code"), ("/v1/chat/completions", "error")] {
        let mut stream = connect(&server);
        let head =
            format!("{}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n", head(&server, "POST", path));
        stream.write_all(head.as_bytes()).unwrap();
        let piece = chunk(&vec![b' '; 64 << 10]);
        for _ in 0..=(CONTROL_BODY_MAX_BYTES / (64 << 10)) {
            stream.write_all(&piece).unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        let answer = read_to_the_end(&mut stream);
        assert_eq!(status(&answer), 413, "{answer}");
        assert!(body(&answer).get(expect).is_some(), "{answer}");
    }
    // More than was announced, without a length.
    let long = [rows().as_bytes(), b"{}\n"].concat();
    let request = [
        format!("PUT {put} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
            .as_bytes(),
        &chunk(&long),
        b"0\r\n\r\n",
    ]
    .concat();
    let answer = ask(&server, &request);
    assert_eq!((status(&answer), stored(&server)), (413, 0), "{answer}");
    still_answers(&server);
}

#[test]
fn a_body_that_breaks_off_changes_nothing() {
    let (server, put) = server();
    let half = &rows()[..rows().len() / 2];
    let length = rows().len();
    let answer = send(
        &server,
        format!("PUT {put} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{half}").as_bytes(),
    );
    assert!(answer.is_empty() || [400, 499].contains(&status(&answer)), "{answer}");
    let request = [
        format!("PUT {put} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes(),
        &chunk(half.as_bytes()),
    ]
    .concat();
    let answer = send(&server, &request);
    assert!(answer.is_empty() || [400, 499].contains(&status(&answer)), "{answer}");
    let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{\"mess";
    let upload = format!(
        "{}Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n{form}",
        head(&server, "POST", &format!("{DATASETS}/rows:upload"))
    );
    let answer = send(&server, upload.as_bytes());
    assert!(answer.is_empty() || [400, 499].contains(&status(&answer)), "{answer}");
    for (path, text) in [(DATASETS, "{\"datasetId\": \"b\""), ("/v1/chat/completions", "{\"model\"")] {
        let answer = send(
            &server,
            format!("{}Content-Length: 100\r\n\r\n{text}", head(&server, "POST", path)).as_bytes(),
        );
        assert!(answer.is_empty() || [400, 499].contains(&status(&answer)), "{answer}");
    }
    assert_eq!(stored(&server), 0);
    assert_eq!(server.get(DATASETS).ok()["totalSize"], 1);
    // The same URL still works.
    assert_eq!(server.request(&[], "PUT", &put, rows().as_bytes()).status, 200);
    server.post(&format!("{DATASETS}/rows:validateUpload"), &json!({})).ok();
}

#[test]
fn chunks_that_are_none_are_refused() {
    let (server, put) = server();
    for garbage in [
        "zz\r\nabc\r\n",
        "-1\r\n",
        "ffffffffffffffffffff\r\nx",
        "5\r\nabcdefgh\r\n0\r\n\r\n",
        "5;\0\r\nabcde\r\n",
    ] {
        for head in [
            head(&server, "POST", DATASETS),
            head(&server, "POST", "/v1/chat/completions"),
            format!("PUT {put} HTTP/1.1\r\nHost: x\r\n"),
        ] {
            let answer =
                send(&server, format!("{head}Transfer-Encoding: chunked\r\n\r\n{garbage}").as_bytes());
            assert!(answer.is_empty() || [400, 499].contains(&status(&answer)), "{garbage:?}: {answer}");
        }
    }
    assert_eq!(stored(&server), 0);
    still_answers(&server);
}

/// A stranger and an unasked-for body cost nothing: the answer comes before the body is sent.
#[test]
fn a_client_that_asks_first_is_refused_before_it_sends() {
    let (server, _) = server();
    let mut stream = connect(&server);
    let head = format!(
        "POST {DATASETS} HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let answer = read_to_the_end(&mut stream);
    assert_eq!(status(&answer), 401, "{answer}");
}

#[test]
fn uploads_of_one_key_at_the_same_time() {
    let server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.uploads_max = 3;
        config.limits.uploads_per_key_max = 1;
    });
    server.post(DATASETS, &json!({"datasetId": "rows"})).ok();
    let files = json!({"filenameToSize": {"a.jsonl": rows().len()}});
    let urls = server.post(&format!("{DATASETS}/rows:getUploadEndpoint"), &files).ok();
    let url = urls["filenameToSignedUrls"]["a.jsonl"].as_str().unwrap().to_owned();
    let path = url.strip_prefix(&server.base).unwrap();
    let mut first = connect(&server);
    let length = rows().len();
    first
        .write_all(
            format!(
                "PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            )
            .as_bytes(),
        )
        .unwrap();
    let running = "hearth_uploads_running 1";
    let is_running =
        || String::from_utf8(server.get("/metrics").body).unwrap().lines().any(|line| line == running);
    assert!((0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        is_running()
    }));
    let second = server.request(&[], "PUT", &url, rows().as_bytes());
    assert_eq!((second.status, second.headers["retry-after"].as_str()), (429, "1"));
    assert!(second.error().2.contains("with this key"));
    first.write_all(rows().as_bytes()).unwrap();
    assert_eq!(status(&read_to_the_end(&mut first)), 200);
    assert_eq!(server.request(&[], "PUT", &url, rows().as_bytes()).status, 200);
}
