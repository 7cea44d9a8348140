//! `GET /v1/accounts/{account}/users/{user}`.

use super::user_with_key;
use crate::server::Server;
use crate::snapshot;

#[test]
fn oneself_or_as_an_admin_anyone() {
    let server = Server::start();
    snapshot!(server.get("/v1/accounts/default/users/operator"));
    snapshot!(server.get("/v1/accounts/default/users/nobody"));
    let reader = user_with_key(&server, "reader", "read-only");
    let get =
        |user: &str| server.send_as(Some(&reader), "GET", &format!("/v1/accounts/default/users/{user}"), b"");
    assert_eq!(get("reader?readMask=role").ok(), serde_json::json!({"role": "read-only"}));
    assert_eq!(get("operator").error().1, 7);
    assert_eq!(get("nobody").error().1, 7, "nothing is learnt about who exists");
}
