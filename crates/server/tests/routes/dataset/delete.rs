//! `DELETE /v1/accounts/{account}/datasets/{dataset}`.

use crate::server::Server;

#[test]
fn rows_and_files_go() {
    let server = Server::start();
    server.ready_dataset("rows");
    let file = server.dir.path().join("objects/datasets/default/rows/rows.jsonl");
    assert!(file.exists());
    assert_eq!(server.delete("/v1/accounts/default/datasets/rows").ok(), serde_json::json!({}));
    assert!(!file.exists());
    assert_eq!(server.get("/v1/accounts/default/datasets/rows").status, 404);
    assert_eq!(server.delete("/v1/accounts/default/datasets/rows").status, 404);
    // The id is free again.
    server.ready_dataset("rows");
}
