//! How often a key may call, and an address with wrong keys.

use hearth_proto::gateway as pb;
use hearth_server::limits::Rate;
use serde_json::json;
use tonic::{Code, Request};

use crate::server::{Reply, Server, rows};

const ONE_A_MINUTE: Option<Rate> = Some(Rate { per_minute: 1, burst: 3 });

#[track_caller]
fn limited(reply: &Reply, part: &str) {
    let (status, code, message) = reply.error();
    assert_eq!((status, code), (429, 8), "{message}");
    assert!(message.contains(part), "{message}");
    let seconds: u64 = reply.headers["retry-after"].parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let delay = reply.json()["details"][0]["retryDelay"].as_str().unwrap().to_owned();
    assert!(delay.ends_with('s'), "{delay}");
}

#[test]
fn control_plane_calls_of_one_key() {
    let server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.control_rate = ONE_A_MINUTE;
    });
    for _ in 0..3 {
        server.get("/v1/accounts/default").ok();
    }
    limited(&server.get("/v1/accounts/default"), "calls with this key");
    let status = server.runtime().block_on(async {
        let mut client = pb::gateway_client::GatewayClient::connect(server.base.clone()).await.unwrap();
        let mut request = Request::new(pb::GetAccountRequest::default());
        request.metadata_mut().insert("x-api-key", server.key.parse().unwrap());
        client.get_account(request).await.unwrap_err()
    });
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.metadata().contains_key("retry-after"));
    assert!(String::from_utf8_lossy(status.details()).contains("google.rpc.RetryInfo"));
    // Other classes and what needs no key are not held up.
    assert_eq!(server.get("/v1/models").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    assert!(metrics.contains("hearth_rate_limited_total{class=\"control\"} 2"), "{metrics}");
}

#[test]
fn chats_of_one_key() {
    let server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.inference_rate = ONE_A_MINUTE;
    });
    let body =
        json!({"model": "accounts/fireworks/models/none", "messages": [{"role": "user", "content": "x"}]});
    for _ in 0..3 {
        assert_eq!(server.post("/v1/chat/completions", &body).status, 404);
    }
    let reply = server.post("/v1/chat/completions", &body);
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    assert!(reply.headers.contains_key("retry-after"));
    server.get("/v1/accounts/default").ok();
}

#[test]
fn uploads_of_one_key_signed_or_not() {
    let server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.upload_rate = Some(Rate { per_minute: 1, burst: 2 });
    });
    let datasets = "/v1/accounts/default/datasets";
    server.post(datasets, &json!({"datasetId": "rows"})).ok();
    let files = json!({"filenameToSize": {"a.jsonl": 0}});
    let urls = server.post(&format!("{datasets}/rows:getUploadEndpoint"), &files).ok();
    let url = urls["filenameToSignedUrls"]["a.jsonl"].as_str().unwrap();
    for _ in 0..2 {
        assert_eq!(server.request(&[], "PUT", url, rows().as_bytes()).status, 200);
    }
    limited(&server.request(&[], "PUT", url, rows().as_bytes()), "uploads with this key");
    limited(&server.upload(&format!("{datasets}/rows:upload"), "a.jsonl", rows().as_bytes()), "uploads");
    // The key of another URL is not this one's to choose.
    let (key, rest) = url.split_once("?key=").unwrap();
    let (_, rest) = rest.split_once('&').unwrap();
    let altered = format!("{key}?key=0000000000000000&{rest}");
    assert_eq!(server.request(&[], "PUT", &altered, rows().as_bytes()).error().1, 7);
}

#[test]
fn wrong_keys_of_one_address() {
    let server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.wrong_key_rate = ONE_A_MINUTE;
    });
    for _ in 0..3 {
        assert_eq!(server.send_as(Some("fw_wrong"), "GET", "/v1/accounts", b"").status, 401);
    }
    limited(&server.send_as(Some("fw_other"), "GET", "/v1/accounts", b""), "without a valid key");
    let reply = server.send_as(Some("fw_other"), "GET", "/v1/models", b"");
    assert_eq!((reply.status, reply.headers.contains_key("retry-after")), (429, true));
    // Who has a valid key is not shut out by others at the same address, and no key is no guess.
    server.get("/v1/accounts/default").ok();
    assert_eq!(server.send_as(None, "GET", "/v1/accounts", b"").status, 401);
}
