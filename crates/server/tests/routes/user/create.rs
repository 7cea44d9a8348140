//! `POST /v1/accounts/{account}/users`.

use serde_json::{Value, json};

use crate::server::Server;
use crate::snapshot;

const USERS: &str = "/v1/accounts/default/users";

#[test]
fn users_get_an_id_of_their_address() {
    let server = Server::start();
    let full = json!({
        "role": "inference-user", "email": "Ada.Lovelace@example.org", "displayName": "Ada",
        "firstName": "Ada", "lastName": "Lovelace", "statedRole": "analyst",
    });
    snapshot!(server.post(USERS, &full));
    snapshot!(server.post(USERS, &full));
    let other = json!({"email": "ada.lovelace@example.com"});
    let other = server.post(USERS, &other).ok();
    assert_eq!(other["name"], "accounts/default/users/ada-lovelace-2");
    assert_eq!(other["role"], "user");
    snapshot!(server.post(&format!("{USERS}?userId=bot"), &json!({"role": "user", "serviceAccount": true})));
}

#[test]
fn what_is_wrong_is_named() {
    let server = Server::start();
    let check = |query: &str, body: Value, expect: (u16, &str, &str)| {
        let reply = server.post(&format!("{USERS}{query}"), &body);
        let got = reply.json();
        let field = &got["details"][0]["fieldViolations"][0]["field"];
        assert_eq!((reply.status, field, &got["message"]), (expect.0, &expect.1.into(), &expect.2.into()));
    };
    let roles =
        "user.role: is not a role; roles are \"admin\", \"user\", \"read-only\" and \"inference-user\"";
    check("", json!({"role": "boss", "email": "a@b"}), (400, "user.role", roles));
    let contributor =
        "user.role: \"contributor\" is not supported by this server yet; use \"user\" or \"read-only\"";
    check("", json!({"role": "contributor", "email": "a@b"}), (501, "user.role", contributor));
    let email = "user.email: is not an address of the form name@domain";
    check("", json!({"role": "user", "email": "a"}), (400, "user.email", email));
    let missing = "user.email: is required if userId is not given";
    check("", json!({"role": "user"}), (400, "user.email", missing));
    let bot = "userId: is required for a service account";
    check("", json!({"role": "user", "serviceAccount": true, "email": "a@b"}), (400, "userId", bot));
    let id = "userId: user id \"A\" has 'A'; only lower-case letters, digits and hyphens are allowed";
    check("?userId=A", json!({"role": "user"}), (400, "userId", id));
    let long = "user.displayName: is longer than 63 characters";
    let body = json!({"role": "user", "email": "a@b", "displayName": "x".repeat(64)});
    check("", body, (400, "user.displayName", long));
    let absent = server.post("/v1/accounts/nobody/users", &json!({"role": "user", "email": "a@b"})).error();
    assert_eq!(absent, (404, 5, "account accounts/nobody does not exist".to_owned()));
}
