//! `GET .../datasets/{dataset}:getDownloadEndpoint` and the URLs that it signs.

use crate::server::{Server, rows};

#[test]
fn files_come_back_as_they_were() {
    let server = Server::start();
    server.ready_dataset("rows");
    let reply = server.get("/v1/accounts/default/datasets/rows:getDownloadEndpoint").ok();
    let url = reply["filenameToSignedUrls"]["rows.jsonl"].as_str().unwrap();
    let file = server.request(&[], "GET", url, b"");
    assert_eq!((file.status, file.body), (200, rows().into_bytes()));
    let lineage = "/v1/accounts/default/datasets/rows:getDownloadEndpoint?downloadLineage=true";
    assert_eq!(server.get(lineage).error().1, 12);
}
