//! `POST /v1/accounts/{account}/apiKeys:delete` and `.../users/{user}/apiKeys:delete`.

use serde_json::json;

use crate::server::{Reply, Server};
use crate::user::user_with_key;

fn id_of(server: &Server, email: &str) -> String {
    let page = server.get(&format!("/v1/accounts/default/apiKeys?filter=email=%22{email}%22")).ok();
    page["apiKeys"][0]["keyId"].as_str().unwrap().to_owned()
}

fn delete(server: &Server, key: &str, path: &str, id: &str) -> Reply {
    let body = json!({ "keyId": id }).to_string();
    server.send_as(Some(key), "POST", &format!("/v1/accounts/default/{path}:delete"), body.as_bytes())
}

#[test]
fn a_deleted_key_opens_nothing() {
    let server = Server::start();
    let ada = user_with_key(&server, "ada", "user");
    let eve = user_with_key(&server, "eve", "user");
    let ada_id = id_of(&server, "ada@example.org");
    // Other users' keys look as if they were not there.
    let unknown = (404, 5, format!("api key {ada_id} does not exist"));
    assert_eq!(delete(&server, &eve, "apiKeys", &ada_id).error(), unknown);
    assert_eq!(delete(&server, &eve, "users/ada/apiKeys", &ada_id).error().1, 7);
    assert_eq!(delete(&server, &server.key, "users/eve/apiKeys", &ada_id).error(), unknown);
    assert_eq!(delete(&server, &server.key, "apiKeys", "").error().1, 3);
    assert_eq!(delete(&server, &ada, "users/ada/apiKeys", &ada_id).ok(), json!({}));
    assert_eq!(server.send_as(Some(&ada), "GET", "/v1/accounts/default", b"").status, 401);
    let eve_id = id_of(&server, "eve@example.org");
    delete(&server, &server.key, "apiKeys", &eve_id).ok();
    assert_eq!(server.send_as(Some(&eve), "GET", "/v1/accounts/default", b"").status, 401);
}

#[test]
fn an_operator_is_left() {
    let server = Server::start();
    let grace = user_with_key(&server, "grace", "admin");
    let id = id_of(&server, "operator@localhost");
    assert_eq!(delete(&server, &grace, "apiKeys", &id).error().1, 7);
    assert_eq!(delete(&server, &server.key, "apiKeys", &id).error().1, 9);
    // A new key file makes a new key, which takes the old one back.
    let (dir, old) = (server.dir.path().join("api-key"), server.key.clone());
    std::fs::remove_file(dir).unwrap();
    let server = Server::start_in(server.stop());
    assert_ne!(server.key, old);
    delete(&server, &server.key, "apiKeys", &id).ok();
    assert_eq!(server.send_as(Some(&old), "GET", "/v1/accounts", b"").status, 401);
    assert_eq!(server.get("/v1/accounts").status, 200);
}
