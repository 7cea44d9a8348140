//! `POST /v1/accounts/{account}/apiKeys`.

use serde_json::json;

use crate::server::Server;

#[test]
fn a_key_opens_its_account_until_it_expires() {
    let server = Server::start();
    server.post("/v1/accounts?accountId=acme", &json!({})).ok();
    let body = json!({"apiKey": {"displayName": "ci", "email": "dev@acme.example"}});
    let key = server.post("/v1/accounts/acme/users/dev/apiKeys", &body).ok();
    let secret = key["key"].as_str().unwrap();
    assert!(secret.starts_with(key["prefix"].as_str().unwrap()));
    assert_eq!(key["displayName"], "ci");
    assert_eq!(server.send_as(Some(secret), "GET", "/v1/accounts/acme", b"").status, 200);

    let past = json!({"apiKey": {"expireTime": "2020-01-01T00:00:00Z"}});
    let error = server.post("/v1/accounts/acme/apiKeys", &past).error();
    assert_eq!(error, (400, 3, "apiKey.expireTime: is in the past".to_owned()));
    let nobody = server.post("/v1/accounts/nobody/apiKeys", &body).error();
    assert_eq!(nobody, (404, 5, "account accounts/nobody does not exist".to_owned()));
}
