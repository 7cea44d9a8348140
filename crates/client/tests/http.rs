//! What the client sends, and what it makes of answers, against a server of canned ones.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use hearth_client::{ChatRequest, Client, ClientError, Message};
use serde_json::{Value, json};

/// One request as it came over the wire.
struct Seen {
    /// `GET /path`.
    line: String,
    /// All headers, lower case.
    headers: String,
    body: Vec<u8>,
}

/// Answers one connection after the other with the given answers, and returns what was asked.
fn serve(answers: Vec<(&'static str, String)>) -> (String, JoinHandle<Vec<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        answers
            .into_iter()
            .map(|(head, body)| {
                let (mut stream, _) = listener.accept().unwrap();
                let seen = read_request(&mut BufReader::new(stream.try_clone().unwrap()));
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                )
                .unwrap();
                seen
            })
            .collect()
    });
    (url, thread)
}

fn read_request(reader: &mut impl BufRead) -> Seen {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut headers = String::new();
    while !headers.ends_with("\r\n\r\n") && headers != "\r\n" {
        reader.read_line(&mut headers).unwrap();
    }
    let headers = headers.to_lowercase();
    let length = headers.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    Seen { line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(), headers, body }
}

fn client(url: &str) -> Client {
    Client::new(&format!("{url}/"), Some("the-key".into()), None).unwrap()
}

#[test]
fn lists_follow_their_pages() {
    let page = |name: &str, next: &str| {
        ("200 OK", json!({ "datasets": [{ "name": name }], "nextPageToken": next }).to_string())
    };
    let (url, server) = serve(vec![page("one", "a b"), page("two", "")]);
    let names = client(&url).list("accounts/x", "datasets").unwrap();
    assert_eq!(names, [json!({ "name": "one" }), json!({ "name": "two" })]);
    let seen = server.join().unwrap();
    assert_eq!(seen[0].line, "GET /v1/accounts/x/datasets?pageSize=200");
    assert_eq!(seen[1].line, "GET /v1/accounts/x/datasets?pageSize=200&pageToken=a%20b");
    assert!(seen.iter().all(|request| request.headers.contains("authorization: bearer the-key\r\n")));
}

#[test]
fn a_search_goes_on_when_others_are_done() {
    let busy = json!({ "code": 8, "message": "2 searches for rows are going on" }).to_string();
    let page = |model: &str, next: &str, unreadable: &[&str]| {
        let page =
            json!({ "uses": [{ "model": model }], "nextPageToken": next, "unreadableModels": unreadable });
        ("200 OK", page.to_string())
    };
    let (url, server) =
        serve(vec![page("one", "t", &["x"]), ("429 Too Many Requests", busy), page("two", "", &[])]);
    let found = client(&url).model_find_by_row("a", "00").unwrap();
    assert_eq!(found.uses, [json!({ "model": "one" }), json!({ "model": "two" })]);
    assert_eq!(found.unreadable_models, ["x"]);
    let seen = server.join().unwrap();
    assert_eq!(seen[1].line, "GET /v1/accounts/a/models:findByRow?pageSize=200&rowDigest=00&pageToken=t");
    assert_eq!(seen[2].line, seen[1].line);
    // Other errors are not tried again.
    let (url, server) = serve(vec![("400 Bad Request", json!({ "code": 3, "message": "no" }).to_string())]);
    assert_eq!(client(&url).model_find_by_row("a", "00").unwrap_err().code(), Some("INVALID_ARGUMENT"));
    assert_eq!(server.join().unwrap().len(), 1);
}

#[test]
fn the_key_is_not_sent_to_signed_urls_nor_shown() {
    let (url, server) = serve(vec![("200 OK", "rows".into())]);
    let client = client(&url);
    assert_eq!(client.signed_get(&format!("{url}/signed/rows?signature=s")).unwrap(), b"rows");
    assert!(!server.join().unwrap()[0].headers.contains("the-key"));
    assert!(!format!("{client:?}").contains("the-key"));
}

#[test]
fn errors_keep_code_message_and_request_id() {
    let body = json!({ "code": 9, "message": "not now", "details": [] }).to_string();
    let (url, server) = serve(vec![("400 Bad Request\r\nx-request-id: r7", body)]);
    let error = client(&url).act("accounts/x/models/m", "cancel", &json!({})).unwrap_err();
    let ClientError::Api { http_status, code, message, request_id } = error else { panic!("{error:?}") };
    assert_eq!((http_status, code.as_str(), message.as_str()), (400, "FAILED_PRECONDITION", "not now"));
    assert_eq!(request_id.as_deref(), Some("r7"));
    assert_eq!(server.join().unwrap()[0].line, "POST /v1/accounts/x/models/m:cancel");
}

#[test]
fn uploads_are_one_form_part_named_file() {
    let (url, server) = serve(vec![("200 OK", "{}".into())]);
    client(&url).dataset_upload_bytes("accounts/x/datasets/d", "rows.jsonl", b"{\"a\":1}\n").unwrap();
    let seen = server.join().unwrap().remove(0);
    assert_eq!(seen.line, "POST /v1/accounts/x/datasets/d:upload");
    assert!(seen.headers.contains("content-type: multipart/form-data; boundary="), "{}", seen.headers);
    let body = String::from_utf8(seen.body).unwrap();
    assert!(body.contains("name=\"file\"; filename=\"rows.jsonl\""), "{body}");
    assert!(body.contains("\r\n\r\n{\"a\":1}\n\r\n--"), "{body}");
}

#[test]
fn chat_asks_for_what_was_set_and_nothing_else() {
    let chunk =
        |text: &str| format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] }));
    let (url, server) = serve(vec![("200 OK", chunk("Hel") + &chunk("lo") + "data: [DONE]\n\n")]);
    let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
    request.temperature = Some(0.0);
    let text: String =
        client(&url).chat_stream(&request).unwrap().map(|piece| piece.unwrap().delta).collect();
    assert_eq!(text, "Hello");
    let body: Value = serde_json::from_slice(&server.join().unwrap()[0].body).unwrap();
    let expect = json!({
        "model": "m", "messages": [{ "role": "user", "content": "hi" }], "temperature": 0.0, "stream": true,
    });
    assert_eq!(body, expect);
}

#[test]
fn answers_that_are_not_the_api_are_errors() {
    let (url, server) = serve(vec![
        ("200 OK", "<html>".into()),
        ("200 OK", "{}".into()),
        ("200 OK", "{}".into()),
        ("502 Bad Gateway", "<html>no</html>".into()),
    ]);
    let client = client(&url);
    let check = |result: Result<(), ClientError>, piece: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(piece), "{piece:?} is not in {error}");
    };
    check(client.get("accounts/x").map(drop), "not JSON");
    check(client.list("accounts/x", "models").map(drop), "a list has no \"models\"");
    check(client.chat(&ChatRequest::new("m", vec![])).map(drop), "choices[0].message.content");
    check(client.get("accounts/x").map(drop), "HTTP 502: <html>no</html>");
    server.join().unwrap();
    check(Client::new("ftp://x", None, None).map(drop), "http://");
}
