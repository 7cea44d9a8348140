//! `GET /v1/accounts`.

use crate::server::Server;
use crate::snapshot;

#[test]
fn own_account_or_all() {
    let server = Server::start();
    let acme = server.account("acme");
    snapshot!(server.send_as(Some(&acme), "GET", "/v1/accounts", b""));
    snapshot!(server.get("/v1/accounts?showAll=true&readMask=name&orderBy=name%20desc"));
    snapshot!(server.send_as(Some(&acme), "GET", "/v1/accounts?showAll=true", b""));
}
