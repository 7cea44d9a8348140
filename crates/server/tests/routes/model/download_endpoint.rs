//! `GET .../models/{model}:getDownloadEndpoint` and the URLs that it signs.

use crate::server::{Server, install_model};

#[test]
fn files_of_the_manifest_come_back() {
    let server = Server::start();
    install_model(server.dir.path(), "default", "mine", Some("tiny"));
    let reply = server.get("/v1/accounts/default/models/mine:getDownloadEndpoint").ok();
    let urls = reply["filenameToSignedUrls"].as_object().unwrap();
    let names: std::collections::BTreeSet<_> = urls.keys().map(String::as_str).collect();
    assert_eq!(names, ["config.json", "hearth-model.json"].into());
    let url = urls["config.json"].as_str().unwrap();
    let file = server.request(&[], "GET", url, b"");
    assert_eq!((file.status, file.body.as_slice()), (200, &b"{}"[..]));
    assert_eq!(server.request(&[], "HEAD", url, b"").headers["content-length"], "2");
    assert_eq!(server.get("/v1/accounts/default/models/none:getDownloadEndpoint").status, 404);
}
