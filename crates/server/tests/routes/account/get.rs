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
