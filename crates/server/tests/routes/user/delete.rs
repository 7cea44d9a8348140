//! `DELETE /v1/accounts/{account}/users/{user}`.

use serde_json::json;

use super::user_with_key;
use crate::server::Server;

const USERS: &str = "/v1/accounts/default/users";

#[test]
fn a_user_goes_with_their_keys() {
    let server = Server::start();
    let ada = user_with_key(&server, "ada", "user");
    let other = user_with_key(&server, "other", "user");
    assert_eq!(server.delete(&format!("{USERS}/ada")).ok(), json!({}));
    assert_eq!(server.delete(&format!("{USERS}/ada")).error().1, 5);
    assert_eq!(server.send_as(Some(&ada), "GET", "/v1/accounts/default", b"").status, 401);
    assert_eq!(server.send_as(Some(&other), "GET", "/v1/accounts/default", b"").status, 200);
    let keys = server.get("/v1/accounts/default/apiKeys").ok();
    assert_eq!(keys["totalSize"], 2, "{keys}");
    // A user of the same name later does not have the old keys.
    let again = user_with_key(&server, "ada", "user");
    assert_eq!(server.send_as(Some(&again), "GET", "/v1/accounts/default", b"").status, 200);
    assert_eq!(server.send_as(Some(&ada), "GET", "/v1/accounts/default", b"").status, 401);
}

#[test]
fn the_last_admin_and_the_operator_stay() {
    let server = Server::start();
    let last = server.delete(&format!("{USERS}/operator")).error();
    assert!((last.0, last.1) == (400, 9) && last.2.contains("is the last admin"), "{last:?}");
    let admin = user_with_key(&server, "admin", "admin");
    let operator = server.send_as(Some(&admin), "DELETE", &format!("{USERS}/operator"), b"").error();
    assert!((operator.0, operator.1) == (400, 9) && operator.2.contains("operator's key"), "{operator:?}");
    let user = user_with_key(&server, "user", "user");
    assert_eq!(server.send_as(Some(&user), "DELETE", &format!("{USERS}/user"), b"").error().1, 7);
    // An admin may leave when another one stays.
    assert_eq!(server.send_as(Some(&admin), "DELETE", &format!("{USERS}/admin"), b"").status, 200);
    assert_eq!(server.send_as(Some(&admin), "GET", "/v1/accounts/default", b"").status, 401);
}
