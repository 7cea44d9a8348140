//! `GET /v1/accounts/{account}`.

use crate::server::Server;
use crate::snapshot;

#[test]
fn accounts_are_read_with_their_own_key() {
    let server = Server::start();
    snapshot!(server.get("/v1/accounts/default"));
    snapshot!(server.get("/v1/accounts/default?readMask=name,displayName"));
    snapshot!(server.get("/v1/accounts/default?readMask=nothing"));
    snapshot!(server.get("/v1/accounts/nobody"));
}

#[test]
fn the_account_of_the_shared_models_is_everybodys() {
    let server = Server::start();
    let acme = server.account("acme");
    let shared = server.send_as(Some(&acme), "GET", "/v1/accounts/fireworks", b"").ok();
    assert_eq!(shared["name"], "accounts/fireworks");
    // Only the account itself, and its models.
    for path in ["datasets", "secrets", "users", "quotas", "supervisedFineTuningJobs"] {
        let reply = server.send_as(Some(&acme), "GET", &format!("/v1/accounts/fireworks/{path}"), b"");
        assert_eq!(reply.error().1, 7, "{path}");
    }
    assert_eq!(server.send_as(Some(&acme), "GET", "/v1/accounts/fireworks/models", b"").status, 200);
}
