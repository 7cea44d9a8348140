//! `POST /v1/accounts`.

use serde_json::json;

use crate::server::Server;
use crate::snapshot;

#[test]
fn the_operator_makes_accounts() {
    let server = Server::start();
    let body = json!({"displayName": "Acme", "email": "owner@acme.example"});
    snapshot!(server.post("/v1/accounts?accountId=acme", &body));
    snapshot!(server.post("/v1/accounts?account_id=acme", &body));
    snapshot!(server.post("/v1/accounts", &body));
    snapshot!(server.post("/v1/accounts?accountId=Acme", &body));
    snapshot!(server.post("/v1/accounts?accountId=other", &json!({"accountType": "ENTERPRISE"})));
}
