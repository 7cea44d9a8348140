//! `GET /v1/accounts/{account}/datasets/{dataset}`.

use crate::server::Server;
use crate::snapshot;

#[test]
fn reads_or_says_what_is_missing() {
    let server = Server::start();
    server.ready_dataset("rows");
    snapshot!(server.get("/v1/accounts/default/datasets/rows"));
    snapshot!(server.get("/v1/accounts/default/datasets/rows?readMask=name,exampleCount"));
    snapshot!(server.get("/v1/accounts/default/datasets/nothing"));
    snapshot!(server.get("/v1/accounts/default/datasets/UPPER"));
}
