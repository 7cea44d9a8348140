//! `/openapi.json` and `/docs`.

use serde_json::Value;

use crate::server::Server;

/// Calls without a key, so nothing is done; the answer must still be one that the document has.
#[test]
fn every_operation_is_served() {
    let server = Server::start();
    let document = server.send_as(None, "GET", "/openapi.json", b"").ok();
    assert_eq!(document["openapi"], "3.1.0");
    let mut calls = 0;
    for (path, verbs) in document["paths"].as_object().unwrap() {
        for (verb, operation) in verbs.as_object().unwrap() {
            let shown = format!("{verb} {path}");
            let filled: String = path.split('/').map(|part| format!("/{}", fill(part))).collect();
            let reply = server.send_as(None, &verb.to_uppercase(), &filled[1..], b"");
            let documented = &operation["responses"][reply.status.to_string()];
            assert!(documented.is_object(), "{shown}: {} is not documented", reply.status);
            // An empty requirement says that a key is not always needed.
            let none =
                |security: &Vec<Value>| security.is_empty() || security.contains(&serde_json::json!({}));
            let needs_key = !operation["security"].as_array().is_some_and(none);
            assert_eq!(reply.status == 401, needs_key, "{shown}: {}", reply.status);
            let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let message = body["message"].as_str().unwrap_or_default();
            assert!(!message.contains("no such path"), "{shown}: {message}");
            calls += 1;
        }
    }
    assert!(calls > 30, "only {calls} operations");
}

/// `{dataset_id}:upload` with an id in place of the name.
fn fill(part: &str) -> String {
    match part.split_once('}') {
        Some((_, rest)) => format!("x{rest}"),
        None => part.to_owned(),
    }
}

#[test]
fn the_page_loads_nothing_and_shows_everything() {
    let server = Server::start();
    let document = server.send_as(None, "GET", "/openapi.json", b"").ok();
    let page = server.send_as(None, "GET", "/docs", b"");
    assert_eq!((page.status, page.headers["content-type"].as_str()), (200, "text/html; charset=utf-8"));
    let policy = &page.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let text = String::from_utf8(page.body).unwrap();
    for loads in ["<script", "<link", "<img", "<iframe", " src=", "url(", "@import", "href=\"http"] {
        assert!(!text.contains(loads), "the page has {loads}");
    }
    for (path, verbs) in document["paths"].as_object().unwrap() {
        assert!(text.contains(&format!("<code>{path}</code>")), "{path}");
        for operation in verbs.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert_eq!(text.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
            assert_eq!(text.matches(&format!("href=\"#{id}\"")).count(), 1, "{id}");
        }
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(text.contains(&format!("id=\"schema-{name}\"")), "{name}");
    }
    // Links within the page lead somewhere.
    for link in text.split("href=\"#").skip(1) {
        let anchor = link.split('"').next().unwrap();
        assert!(text.contains(&format!("id=\"{anchor}\"")), "{anchor}");
    }
}

#[test]
fn both_can_only_be_read() {
    let server = Server::start();
    for path in ["/openapi.json", "/docs"] {
        let reply = server.send_as(None, "POST", path, b"{}");
        assert_eq!((reply.status, reply.headers["allow"].as_str()), (405, "GET"), "{path}");
    }
}
