//! `GET /metrics`.

use serde_json::json;

use crate::server::{Server, rows};

fn text(server: &Server) -> String {
    let reply = server.send_as(None, "GET", "/metrics", b"");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    String::from_utf8(reply.body).unwrap()
}

/// The value of the sample that begins with this text.
#[track_caller]
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("no sample {sample} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn requests_are_counted_by_their_route() {
    let server = Server::start();
    server.ready_dataset("rows");
    for _ in 0..3 {
        server.get("/v1/accounts/default/datasets/rows").ok();
    }
    server.get("/v1/accounts/default/datasets/none");
    server.get("/no/such/path");
    server.send("BREW", "/verifyApiKey", b"");
    server.send_as(None, "GET", "/v1/models", b"");
    let text = text(&server);
    let get = "method=\"GET\",route=\"/v1/{name=accounts/*/datasets/*}\"";
    assert_eq!(value(&text, &format!("hearth_http_requests_total{{{get},status=\"200\"}}")), 3.0);
    assert_eq!(value(&text, &format!("hearth_http_requests_total{{{get},status=\"404\"}}")), 1.0);
    assert_eq!(value(&text, &format!("hearth_http_request_duration_seconds_count{{{get}}}")), 4.0);
    let none = "hearth_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}";
    assert_eq!(value(&text, none), 1.0);
    let brew = "hearth_http_requests_total{method=\"other\",route=\"/verifyApiKey\",status=\"405\"}";
    assert_eq!(value(&text, brew), 1.0);
    let models = "hearth_http_requests_total{method=\"GET\",route=\"/v1/models\",status=\"401\"}";
    assert_eq!(value(&text, models), 1.0);
    assert!(value(&text, "hearth_http_request_body_bytes_total{face=\"rest\"}") >= rows().len() as f64);
    assert!(value(&text, "hearth_http_response_body_bytes_total{face=\"inference\"}") > 0.0);
    // This request itself.
    assert_eq!(value(&text, "hearth_http_requests_open{face=\"rest\"}"), 1.0);
    assert!(value(&text, "hearth_connections_open{tls=\"false\"}") >= 1.0);
}

#[test]
fn jobs_and_uploads_are_counted() {
    let server = Server::start();
    crate::server::install_model(server.dir.path(), "fireworks", "tiny", None);
    server.ready_dataset("rows");
    for _ in 0..2 {
        let job = json!({"dataset": "rows", "baseModel": "accounts/fireworks/models/tiny"});
        server.post("/v1/accounts/default/supervisedFineTuningJobs", &job).ok();
    }
    let text = text(&server);
    assert_eq!(value(&text, "hearth_jobs{state=\"PENDING\"}"), 2.0);
    assert_eq!(value(&text, "hearth_jobs{state=\"FAILED\"}"), 0.0);
    assert_eq!(value(&text, "hearth_jobs_queued"), 2.0);
    assert_eq!(value(&text, "hearth_uploads_running"), 0.0);
}

/// Names that clients choose are in no label, so that no client can make the text long.
#[test]
fn nothing_that_clients_choose_is_a_label() {
    let server = Server::start();
    let key = server.account("acme-corp");
    server.send_as(Some(&key), "GET", "/v1/accounts/acme-corp/datasets/secret-plans", b"");
    server.send_as(Some(&key), "GET", "/secret-path?secret=query", b"");
    let text = text(&server);
    for word in ["acme", "secret", &key, &server.key] {
        assert!(!text.contains(word), "{word} is in\n{text}");
    }
    let lines = text.lines().count();
    for i in 0..50 {
        server.get(&format!("/v1/accounts/default/datasets/d{i}"));
        server.get(&format!("/nothing/{i}"));
    }
    // One new combination of route and status at most, with its buckets.
    assert!(self::text(&server).lines().count() <= lines + 40);
}

/// Without a key from this machine, but not through a proxy on it; else with the operator's key.
#[test]
fn who_may_read() {
    let server = Server::start();
    let user = server.account("acme");
    let through = |key: Option<&str>| {
        let bearer = key.map(|key| format!("Bearer {key}"));
        let mut headers = vec![("x-forwarded-for", "203.0.113.7")];
        headers.extend(bearer.iter().map(|bearer| ("authorization", bearer.as_str())));
        server.request(&headers, "GET", "/metrics", b"").status
    };
    assert_eq!((through(None), through(Some(&user)), through(Some(&server.key))), (401, 403, 200));
    let behind = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.public_url = Some("https://hearth.example.org".to_owned());
    });
    assert_eq!(behind.send_as(None, "GET", "/metrics", b"").status, 401);
    assert_eq!(behind.get("/metrics").status, 200);
}

#[test]
fn chats_are_counted_by_their_tokens() {
    let server = crate::openai::server();
    assert_eq!(value(&text(&server), "hearth_inference_resident_bases"), 0.0);
    let chat = json!({
        "model": crate::openai::BASE, "max_tokens": 7, "temperature": 0,
        "messages": [{"role": "user", "content": "hello"}],
    });
    let usage = server.post("/v1/chat/completions", &chat).ok()["usage"].clone();
    let text = text(&server);
    for (sample, field) in [("prompt", "prompt_tokens"), ("completion", "completion_tokens")] {
        let counted = value(&text, &format!("hearth_inference_{sample}_tokens_total"));
        assert_eq!(Some(counted), usage[field].as_f64(), "{field}");
    }
    assert_eq!(value(&text, "hearth_inference_resident_bases"), 1.0);
    assert_eq!(value(&text, "hearth_inference_requests_waiting"), 0.0);
}
