//! Bodies that show how a call is meant, for the calls that a newcomer makes.

use serde_json::{Value, json};

/// An example of the JSON body of an operation.
pub(super) fn body(operation_id: &str) -> Option<Value> {
    Some(match operation_id {
        "Gateway_CreateDataset" => {
            json!({ "datasetId": "support", "dataset": { "userUploaded": {}, "format": "CHAT" } })
        }
        "Gateway_GetDatasetUploadEndpoint" => json!({ "filenameToSize": { "train.jsonl": 12345 } }),
        "Gateway_CreateSupervisedFineTuningJob" => json!({
            "dataset": "accounts/default/datasets/support",
            "baseModel": "accounts/fireworks/models/smollm2-135m-instruct",
            "epochs": 3,
        }),
        "Gateway_CreateApiKey" => json!({ "apiKey": { "displayName": "laptop" } }),
        "Inference_CreateChatCompletion" => json!({
            "model": "accounts/fireworks/models/smollm2-135m-instruct",
            "messages": [{ "role": "user", "content": "Name a colour." }],
            "max_tokens": 16,
        }),
        _ => return None,
    })
}
