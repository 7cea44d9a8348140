//! `PATCH /v1/accounts/{account}/users/{user}`.

use serde_json::{Value, json};

use super::user_with_key;
use crate::server::Server;

const DATASETS: &str = "/v1/accounts/default/datasets";

fn patch(server: &Server, user: &str, body: Value) -> crate::server::Reply {
    server.send("PATCH", &format!("/v1/accounts/default/users/{user}"), body.to_string().as_bytes())
}

#[test]
fn keys_follow_their_user_at_once() {
    let server = Server::start();
    let key = user_with_key(&server, "ada", "user");
    let create = |id: &str| {
        let body = json!({ "datasetId": id }).to_string();
        server.send_as(Some(&key), "POST", DATASETS, body.as_bytes()).status
    };
    assert_eq!(create("one"), 200);
    let changed = patch(&server, "ada", json!({"role": "read-only"})).ok();
    assert_eq!((&changed["role"], &changed["email"]), (&json!("read-only"), &json!("ada@example.org")));
    assert_eq!(create("two"), 403);
    assert_eq!(server.send_as(Some(&key), "GET", DATASETS, b"").status, 200);
    patch(&server, "ada", json!({"email": "countess@example.org"})).ok();
    let who = server.send_as(Some(&key), "GET", "/verifyApiKey", b"");
    assert_eq!(who.headers["x-fireworks-developer-email"], "countess@example.org");
    // With a mask, what it does not name stays.
    let masked = json!({"role": "admin", "email": "x@y", "displayName": "Ada"});
    let changed = patch(&server, "ada?updateMask=displayName", masked).ok();
    assert_eq!(
        (&changed["role"], &changed["email"], &changed["displayName"]),
        (&json!("read-only"), &json!("countess@example.org"), &json!("Ada"))
    );
}

#[test]
fn one_admin_stays() {
    let server = Server::start();
    let (status, code, message) = patch(&server, "operator", json!({"role": "user"})).error();
    assert_eq!((status, code), (400, 9), "{message}");
    user_with_key(&server, "grace", "admin");
    patch(&server, "operator", json!({"role": "user"})).ok();
    assert_eq!(patch(&server, "grace", json!({"role": "user"})).error().1, 9);
    // The operator's key is the operator's, whatever its user may do.
    assert_eq!(server.get("/v1/accounts?showAll=true").status, 200);
}

#[test]
fn what_is_wrong_is_named() {
    let server = Server::start();
    user_with_key(&server, "ada", "user");
    let taken = patch(&server, "ada", json!({"email": "operator@localhost"})).error();
    let text =
        "a user with the email \"operator@localhost\" in accounts/default/users/operator exists already";
    assert_eq!(taken, (409, 6, text.to_owned()));
    assert_eq!(patch(&server, "nobody", json!({"role": "user"})).error().0, 404);
    assert_eq!(patch(&server, "ada", json!({"role": "boss"})).error().1, 3);
    assert_eq!(patch(&server, "ada?updateMask=createTime", json!({})).error().1, 3);
}
