//! Clients that are slow on purpose. The limits are shortened; no test waits for more than they say.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::{TEST_TIMEOUT, body, connect, head, read_to_the_end, status, still_answers};
use crate::server::{Server, rows};

const SHORT: Duration = Duration::from_millis(200);
const DATASETS: &str = "/v1/accounts/default/datasets";

fn server() -> Server {
    Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.head_timeout = SHORT;
        config.limits.keep_alive_timeout = SHORT;
        config.limits.body_stall_timeout = SHORT;
        config.limits.write_stall_timeout = SHORT;
    })
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let server = server();
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    // A whole HEADERS frame is announced, and its first byte sent.
    let half_a_frame =
        [&http2[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[0, 0, 50, 1, 4, 0, 0, 0, 1, 0x82]].concat();
    for bytes in [
        &b""[..],
        b"G",
        b"GET /healthz HT",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
        &http2[..10],
        http2,
        &half_a_frame,
    ] {
        let mut stream = connect(&server);
        stream.write_all(bytes).unwrap();
        let answer = read_to_the_end(&mut stream);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    still_answers(&server);
}

/// One byte at a time is no head either.
#[test]
fn a_head_in_drops_ends_the_connection() {
    let server = server();
    let mut stream = connect(&server);
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let endless =
        std::iter::once(&b"GET /healthz HTTP/1.1\r\n"[..]).chain(std::iter::repeat(&b"x: y\r\n"[..]));
    // At 20 ms a drop this is a hundred times the limit.
    let is_closed = endless.take(1000).any(|drop| {
        let closed = stream.write_all(drop).is_err();
        closed || matches!(stream.read(&mut [0; 100]), Ok(0))
    });
    assert!(is_closed);
    still_answers(&server);
}

#[test]
fn a_connection_without_requests_is_closed() {
    let server = server();
    let mut stream = connect(&server);
    stream.write_all(format!("{}\r\n", head(&server, "GET", "/healthz")).as_bytes()).unwrap();
    assert!(read_to_the_end(&mut stream).starts_with("HTTP/1.1 200"));
    still_answers(&server);
}

#[test]
fn a_body_that_does_not_come_is_408_in_each_form() {
    let server = server();
    server.post(DATASETS, &json!({"datasetId": "rows"})).ok();
    let answer_to = |head: &str| {
        let mut stream = connect(&server);
        stream.write_all(format!("{head}Content-Length: 1000\r\n\r\n{{\"a\": ").as_bytes()).unwrap();
        read_to_the_end(&mut stream)
    };
    let answer = answer_to(&head(&server, "POST", DATASETS));
    assert_eq!((status(&answer), &body(&answer)["code"]), (408, &json!(4)));
    assert!(body(&answer)["message"].as_str().unwrap().contains("did not come"));
    let answer = answer_to(&head(&server, "POST", "/v1/chat/completions"));
    assert_eq!((status(&answer), &body(&answer)["error"]["code"]), (408, &json!("request_timeout")));
    let form = "Content-Type: multipart/form-data; boundary=b\r\n";
    let answer = answer_to(&format!("{}{form}", head(&server, "POST", &format!("{DATASETS}/rows:upload"))));
    assert_eq!(status(&answer), 408);
    still_answers(&server);
}

#[test]
fn an_upload_in_drops_is_given_up_and_leaves_nothing() {
    let server = server();
    server.post(DATASETS, &json!({"datasetId": "rows"})).ok();
    let files = json!({"filenameToSize": {"a.jsonl": rows().len()}});
    let urls = server.post(&format!("{DATASETS}/rows:getUploadEndpoint"), &files).ok();
    let url = urls["filenameToSignedUrls"]["a.jsonl"].as_str().unwrap();
    let path = url.strip_prefix(&server.base).unwrap();
    let mut stream = connect(&server);
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let length = rows().len();
    stream
        .write_all(format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = [0; 12];
    let text = rows();
    let answered = text.as_bytes().iter().any(|byte| {
        stream.write_all(&[*byte]).is_err() || matches!(stream.read(&mut answer), Ok(n) if n > 0)
    });
    assert!(answered && answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
    drop(stream);
    let left = std::fs::read_dir(server.dir.path().join("objects/datasets/default/rows"));
    assert_eq!(left.map_or(0, Iterator::count), 0);
    // The right to upload is free again, and so is the URL.
    assert_eq!(server.request(&[], "PUT", url, rows().as_bytes()).status, 200);
}

/// A raw HTTP/2 client that takes in only what it is told to.
async fn http2(server: &Server, window: u32) -> h2::client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
    let (client, connection) =
        h2::client::Builder::new().initial_window_size(window).handshake::<_, Bytes>(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

#[test]
fn a_grpc_message_that_does_not_come_is_deadline_exceeded() {
    let server = server();
    server.runtime().block_on(async {
        let mut client = http2(&server, 65_535).await;
        let request = http::Request::post(format!("{}/gateway.Gateway/GetAccount", server.base))
            .header("content-type", "application/grpc")
            .header("x-api-key", &server.key)
            .body(())
            .unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"\0\0\0\0\x10abc"), false).unwrap();
        let response = tokio::time::timeout(TEST_TIMEOUT, response).await.unwrap().unwrap();
        assert_eq!(response.headers()["grpc-status"], "4");
    });
    still_answers(&server);
}

/// A file of a dataset that does not fit into the buffers of sockets.
fn large_file(server: &Server) -> String {
    server.post(DATASETS, &json!({"datasetId": "large"})).ok();
    let row = format!(
        "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{}\"}}, {{\"role\": \"assistant\", \"content\": \"y\"}}]}}\n",
        "x".repeat(100_000)
    );
    let upload = format!("{DATASETS}/large:upload");
    server.upload(&upload, "a.jsonl", row.repeat(300).as_bytes()).ok();
    let urls = server.get(&format!("{DATASETS}/large:getDownloadEndpoint")).ok();
    urls["filenameToSignedUrls"]["a.jsonl"].as_str().unwrap().to_owned()
}

/// Waits until the metrics have this line.
fn wait_for(server: &Server, line: &str) {
    for _ in 0..1000 {
        if String::from_utf8(server.get("/metrics").body).unwrap().lines().any(|found| found == line) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the metrics never have {line}:\n{}", String::from_utf8_lossy(&server.get("/metrics").body));
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = server();
    let url = large_file(&server);
    let path = url.strip_prefix(&server.base).unwrap();
    let mut stream = connect(&server);
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    // Nothing is read; the request is over all the same.
    wait_for(
        &server,
        "hearth_http_requests_total{method=\"GET\",route=\"/signed/datasets/{account}/{dataset}/{file}\",status=\"200\"} 1",
    );
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    assert!(text.len() < 30_000_000, "all of it came");
    still_answers(&server);
}

#[test]
fn a_stream_that_is_not_read_is_given_up_alone() {
    let server = server();
    let url = large_file(&server);
    server.runtime().block_on(async {
        let mut client = http2(&server, 1000).await;
        let ask = |url: &str| http::Request::get(url).body(()).unwrap();
        let (response, _) = client.send_request(ask(&url), true).unwrap();
        let mut stalled = response.await.unwrap().into_body();
        let first = stalled.data().await.unwrap().unwrap();
        tokio::task::block_in_place(|| wait_for(&server, "hearth_http_responses_given_up_total 1"));
        // The connection still answers others.
        client = client.ready().await.unwrap();
        let (response, _) = client.send_request(ask(&format!("{}/healthz", server.base)), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        // Who comes back for the rest is told that it is gone.
        let mut came = first.len();
        let error = loop {
            let used = stalled.flow_control().used_capacity();
            stalled.flow_control().release_capacity(used).unwrap();
            match stalled.data().await.unwrap() {
                Ok(piece) => came += piece.len(),
                Err(error) => break error,
            }
        };
        assert!(error.is_reset() && came < 30_000_000, "{error}, {came}");
    });
}
