//! Datasets.

mod copy;
mod create;
mod delete;
mod download_endpoint;
mod external_url;
mod get;
mod list;
mod preview;
pub mod render_preview;
mod split;
mod update;
mod upload;
mod upload_endpoint;
mod upload_rpc;
mod validate_upload;

use serde_json::json;

use crate::server::Server;

/// Makes a dataset of the account `default` and puts files in it; it is not validated.
pub fn upload_files(server: &Server, id: &str, files: &[(&str, &[u8])]) {
    server.post("/v1/accounts/default/datasets", &json!({ "datasetId": id })).ok();
    let sizes: serde_json::Map<String, serde_json::Value> =
        files.iter().map(|(name, bytes)| ((*name).to_owned(), json!(bytes.len()))).collect();
    let path = format!("/v1/accounts/default/datasets/{id}:getUploadEndpoint");
    let reply = server.post(&path, &json!({ "filenameToSize": sizes })).ok();
    for (name, bytes) in files {
        let url = reply["filenameToSignedUrls"][*name].as_str().unwrap();
        assert_eq!(server.request(&[], "PUT", url, bytes).status, 200);
    }
}
