//! `PATCH /v1/accounts/{account}/secrets/{secret}`.

use serde_json::json;

use super::{SECRETS, made, without_value};
use crate::server::Server;

#[test]
fn what_is_given_is_changed() {
    let server = Server::start();
    made(&server, "s3").ok();
    let path = format!("{SECRETS}/s3");
    let patch =
        |body: serde_json::Value| without_value(server.send("PATCH", &path, body.to_string().as_bytes()));
    assert_eq!(patch(json!({"keyName": "OTHER"})).ok()["keyName"], "OTHER");
    assert_eq!(patch(json!({"keyName": "OTHER", "value": "hunter2-new"})).ok()["value"], "");
    assert_eq!(patch(json!({"value": "hunter2-newer"})).ok()["keyName"], "OTHER");
    assert_eq!(patch(json!({"keyName": "\u{7}"})).error().1, 3);
    assert_eq!(patch(json!({"value": 5})).status, 400);
    let absent = server.send("PATCH", &format!("{SECRETS}/none"), br#"{"value": "hunter2"}"#);
    assert_eq!(without_value(absent).error().1, 5);
}
