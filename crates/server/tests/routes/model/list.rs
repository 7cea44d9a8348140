//! `GET /v1/accounts/{account}/models`.

use serde_json::json;

use crate::server::{Server, install_model};
use crate::snapshot;

#[test]
fn everybody_reads_the_catalogue() {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    install_model(server.dir.path(), "default", "mine", Some("tiny"));
    let acme = server.account("acme");
    snapshot!(server.send_as(
        Some(&acme),
        "GET",
        "/v1/accounts/fireworks/models?readMask=name,kind,state",
        b""
    ));
    snapshot!(server.send_as(Some(&acme), "GET", "/v1/accounts/acme/models", b""));
    let refs = server.get("/v1/accounts/default/models?includeDeployedModelRefs=true").ok();
    assert_eq!(refs["models"][0]["deployedModelRefs"][0]["state"], "DEPLOYED");
    let none = server.get("/v1/accounts/default/models").ok();
    assert_eq!(none["models"][0]["deployedModelRefs"], json!([]));
}
