//! `POST /v1/accounts/{account}/datasets`.

use serde_json::json;

use crate::server::Server;
use crate::snapshot;

const PATH: &str = "/v1/accounts/default/datasets";

#[test]
fn datasets_begin_empty() {
    let server = Server::start();
    let body = json!({
        "datasetId": "rows",
        "dataset": {"displayName": "Rows", "exampleCount": 7, "format": "CHAT", "userUploaded": {}},
    });
    snapshot!(server.post(PATH, &body));
    snapshot!(server.post(PATH, &body));
    // Numbers of 64 bits come as strings as well.
    let as_string = json!({"datasetId": "strings", "dataset": {"exampleCount": "7"}});
    assert_eq!(server.post(PATH, &as_string).ok()["exampleCount"], "7");
    for (body, expect) in [
        (json!({}), "datasetId: is required"),
        (json!({"datasetId": "9rows"}), "datasetId: dataset id \"9rows\" begins with a digit"),
        (json!({"datasetId": "x", "dataset": {"exampleCount": -1}}), "dataset.exampleCount: -1 is below 0"),
        (
            json!({"datasetId": "x", "dataset": {"accessPolicy": "PUBLIC"}}),
            "dataset.accessPolicy: this server does not support this field yet; leave it out",
        ),
    ] {
        assert_eq!(server.post(PATH, &body).error().2, expect, "{body}");
    }
}
