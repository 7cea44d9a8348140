//! `GET /v1/accounts/{account}/secrets/{secret}`.

use serde_json::json;

use super::{SECRETS, made, without_value};
use crate::server::Server;

#[test]
fn a_secret_is_read_without_its_value() {
    let server = Server::start();
    made(&server, "s3").ok();
    let path = format!("{SECRETS}/s3");
    assert_eq!(
        without_value(server.get(&path)).ok(),
        json!({"name": "accounts/default/secrets/s3", "keyName": "S3_KEY", "value": ""})
    );
    let masked = without_value(server.get(&format!("{path}?readMask=keyName,value"))).ok();
    assert_eq!(masked, json!({"keyName": "S3_KEY", "value": ""}));
    let absent = server.get(&format!("{SECRETS}/none")).error();
    assert_eq!(absent, (404, 5, "secret accounts/default/secrets/none does not exist".to_owned()));
}
