//! `GET /v1/accounts/{account}/models/{model}`.

use crate::server::{Server, install_model};
use crate::snapshot;

#[test]
fn bases_and_adapters() {
    let server = Server::start();
    // Installed while the server runs, as `hearth model pull` does.
    install_model(server.dir.path(), "fireworks", "tiny", None);
    install_model(server.dir.path(), "default", "mine", Some("tiny"));
    install_model(server.dir.path(), "default", "orphan", Some("gone"));
    snapshot!(server.get("/v1/accounts/fireworks/models/tiny"));
    snapshot!(server.get("/v1/accounts/default/models/mine"));
    let orphan = server.get("/v1/accounts/default/models/orphan").ok();
    assert_eq!(orphan["deployedModelRefs"], serde_json::json!([]));
    snapshot!(server.get("/v1/accounts/fireworks/models/none"));
}
