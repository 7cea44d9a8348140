//! Heads of requests that are too long or no heads at all.

use serde_json::json;

use super::{ask, body, connect, head, read_to_the_end, send, status, still_answers};
use crate::server::Server;

#[test]
fn long_urls_and_headers_are_refused_in_each_form() {
    let server = Server::start();
    let long = "x".repeat(17 << 10);
    let reply = server.get(&format!("/v1/accounts/default/datasets?filter={long}"));
    let (code, number, message) = reply.error();
    assert_eq!((code, number), (414, 3));
    assert!(message.contains("16384"), "{message}");
    let reply = server.get(&format!("/v1/models?x={long}"));
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (414, &json!("url_too_long")));

    let value = "x".repeat(33 << 10);
    let reply = server.request(&[("x-long", &value)], "GET", "/v1/accounts/default", b"");
    assert_eq!((reply.status, reply.error().1), (431, 3));
    let reply = server.request(&[("x-long", &value)], "GET", "/v1/models", b"");
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (431, &json!("headers_too_large")));
    let many: String = (0..150).map(|i| format!("x-{i}: 1\r\n")).collect();
    // Whole: a client that is gone gets no answer.
    let answer = ask(
        &server,
        format!("{}{many}Connection: close\r\n\r\n", head(&server, "GET", "/verifyApiKey")).as_bytes(),
    );
    assert_eq!((status(&answer), &body(&answer)["code"]), (431, &json!(3)));
    // What is beyond the parser's own limits is refused without a body.
    for size in [70 << 10, 1 << 20] {
        let value = "x".repeat(size);
        let answer = send(
            &server,
            format!("{}X-Long: {value}\r\n\r\n", head(&server, "GET", "/verifyApiKey")).as_bytes(),
        );
        assert!(answer.is_empty() || status(&answer) == 431, "{answer}");
        let answer =
            send(&server, format!("{}\r\n\r\n", head(&server, "GET", &format!("/{value}"))).as_bytes());
        assert!(answer.is_empty() || [414, 431].contains(&status(&answer)), "{answer}");
    }
    still_answers(&server);
}

#[test]
fn what_is_no_head_is_refused() {
    let server = Server::start();
    for bytes in [
        &b"\0\0\0\0\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET \x80\xff HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0],
    ] {
        let answer = send(&server, bytes);
        // HTTP/2 is answered in frames.
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400") || bytes.starts_with(b"PRI"),
            "{answer}"
        );
    }
    still_answers(&server);
}

/// Two lengths are how one request is smuggled in another.
#[test]
fn two_lengths_are_refused() {
    let server = Server::start();
    let path = "/v1/accounts/default/datasets";
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n",
    ] {
        let answer = send(&server, format!("{}{lengths}\r\n12345", head(&server, "POST", path)).as_bytes());
        assert!(answer.is_empty() || status(&answer) == 400, "{lengths}: {answer}");
    }
    still_answers(&server);
}

/// Many requests in one go are answered one by one.
#[test]
fn requests_in_a_row_are_answered() {
    let server = Server::start();
    let mut stream = connect(&server);
    let one = format!("{}\r\n", head(&server, "GET", "/healthz"));
    let last = format!("{}Connection: close\r\n\r\n", head(&server, "GET", "/healthz"));
    std::io::Write::write_all(&mut stream, format!("{}{last}", one.repeat(49)).as_bytes()).unwrap();
    assert_eq!(read_to_the_end(&mut stream).matches("HTTP/1.1 200 OK").count(), 50);
}
