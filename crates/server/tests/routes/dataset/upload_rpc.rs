//! `UploadDataset`, which only gRPC has.

use hearth_proto::gateway as pb;
use hearth_proto::gateway::gateway_client::GatewayClient;
use serde_json::json;
use tonic::{Code, Request};

use crate::server::{Server, rows};

#[test]
fn it_is_the_upload_endpoint_under_another_name() {
    let server = Server::start();
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "rows"})).ok();
    let rows = rows();
    let ask = |key: &str, size: i64| {
        let mut request = Request::new(pb::UploadDatasetRequest {
            name: "accounts/default/datasets/rows".to_owned(),
            filename_to_size: [("a.jsonl".to_owned(), size)].into(),
        });
        request.metadata_mut().insert("x-api-key", key.parse().unwrap());
        server.runtime().block_on(async {
            let mut client = GatewayClient::connect(server.base.clone()).await.unwrap();
            client.upload_dataset(request).await
        })
    };
    let foreign = server.account("acme");
    assert_eq!(ask("fw_wrong", 1).unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(ask(&foreign, 1).unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(ask(&server.key, -1).unwrap_err().code(), Code::InvalidArgument);
    let urls = ask(&server.key, rows.len() as i64).unwrap().into_inner().filename_to_signed_urls;
    assert_eq!(server.request(&[], "PUT", &urls["a.jsonl"], rows.as_bytes()).status, 200);
    server.post("/v1/accounts/default/datasets/rows:validateUpload", &json!({})).ok();
    assert_eq!(ask(&server.key, 1).unwrap_err().code(), Code::FailedPrecondition);
}
