//! `POST /v1/accounts/{account}/apiKeys` and `.../users/{user}/apiKeys`.

use serde_json::json;

use crate::server::Server;
use crate::user::user_with_key;

#[test]
fn a_key_opens_its_account_until_it_expires() {
    let server = Server::start();
    server.post("/v1/accounts?accountId=acme", &json!({"email": "owner@acme.example"})).ok();
    let body = json!({"apiKey": {"displayName": "ci"}});
    let key = server.post("/v1/accounts/acme/users/owner/apiKeys", &body).ok();
    let secret = key["key"].as_str().unwrap();
    assert!(secret.starts_with(key["prefix"].as_str().unwrap()));
    assert_eq!((&key["displayName"], &key["email"]), (&json!("ci"), &json!("owner@acme.example")));
    assert_eq!(server.send_as(Some(secret), "GET", "/v1/accounts/acme", b"").status, 200);

    let past = json!({"apiKey": {"email": "owner@acme.example", "expireTime": "2020-01-01T00:00:00Z"}});
    let error = server.post("/v1/accounts/acme/apiKeys", &past).error();
    assert_eq!(error, (400, 3, "apiKey.expireTime: is in the past".to_owned()));
    let absent = server.post("/v1/accounts/acme/users/nobody/apiKeys", &body).error();
    assert_eq!(absent, (404, 5, "user accounts/acme/users/nobody does not exist".to_owned()));
    let body = json!({"apiKey": {"email": "a@b"}});
    let nobody = server.post("/v1/accounts/nobody/apiKeys", &body).error();
    assert_eq!(nobody, (404, 5, "account accounts/nobody does not exist".to_owned()));
}

#[test]
fn whose_key_it_is() {
    let server = Server::start();
    let key_of = |caller: &str, path: &str, api_key: serde_json::Value| {
        let body = json!({ "apiKey": api_key }).to_string();
        server.send_as(Some(caller), "POST", path, body.as_bytes())
    };
    let account = "/v1/accounts/default/apiKeys";
    // Without a name and without a user: the caller's own.
    let own = key_of(&server.key, account, json!({})).ok();
    assert_eq!((&own["email"], &own["displayName"]), (&json!("operator@localhost"), &json!("default")));
    // An address that nobody has makes a user.
    let ada = key_of(&server.key, account, json!({"email": "ada@example.org"})).ok();
    assert_eq!(server.get("/v1/accounts/default/users/ada").ok()["role"], "user");
    let ada = ada["key"].as_str().unwrap();
    // Users make keys for themselves only.
    assert_eq!(key_of(ada, account, json!({})).ok()["email"], "ada@example.org");
    assert_eq!(key_of(ada, account, json!({"email": "ada@example.org"})).status, 200);
    assert_eq!(key_of(ada, "/v1/accounts/default/users/ada/apiKeys", json!({})).status, 200);
    for (path, email) in [
        (account, "operator@localhost"),
        (account, "new@example.org"),
        ("/v1/accounts/default/users/operator/apiKeys", ""),
        ("/v1/accounts/default/users/nobody/apiKeys", ""),
    ] {
        assert_eq!(key_of(ada, path, json!({ "email": email })).error().1, 7, "{path} {email}");
    }
    assert_eq!(server.get("/v1/accounts/default/users/new").status, 404);
    let wrong =
        key_of(&server.key, "/v1/accounts/default/users/ada/apiKeys", json!({"email": "a@b"})).error();
    let text = "apiKey.email: is not the address of user accounts/default/users/ada";
    assert_eq!(wrong, (400, 3, text.to_owned()));
    // A key that only reads makes none, not even for itself.
    let reader = user_with_key(&server, "reader", "read-only");
    assert_eq!(key_of(&reader, account, json!({})).error().1, 7);
    // The operator has no user in other accounts.
    server.account("acme");
    let unnamed = key_of(&server.key, "/v1/accounts/acme/apiKeys", json!({})).error();
    assert_eq!(unnamed, (400, 3, "apiKey.email: is required: it says whose key this is".to_owned()));
}
