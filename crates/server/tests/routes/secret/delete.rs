//! `DELETE /v1/accounts/{account}/secrets/{secret}`.

use serde_json::json;

use super::{SECRETS, made};
use crate::server::Server;

#[test]
fn a_deleted_secret_is_gone_and_its_name_is_free() {
    let server = Server::start();
    made(&server, "s3").ok();
    let path = format!("{SECRETS}/s3");
    assert_eq!(server.delete(&path).ok(), json!({}));
    assert_eq!(server.delete(&path).error().1, 5);
    assert_eq!(server.get(&path).status, 404);
    made(&server, "s3").ok();
}
