//! Bodies that show how a call is meant. The conformance run sends them, and those of calls that make something succeed.

use serde_json::{Value, json};

/// An example of the JSON body of an operation.
pub(super) fn body(operation_id: &str) -> Option<Value> {
    // Routes of the same call are numbered.
    let name = operation_id.trim_end_matches(|c: char| c.is_ascii_digit());
    Some(match name.strip_prefix("Gateway_") {
        Some(call) => gateway(call)?,
        None => inference(name)?,
    })
}

fn gateway(call: &str) -> Option<Value> {
    let base = "accounts/fireworks/models/smollm2-135m-instruct";
    let dataset = "accounts/default/datasets/support";
    let deployment = "accounts/default/deployments/local";
    Some(match call {
        "CreateAccount" => json!({ "displayName": "Support" }),
        "CreateApiKey" => json!({ "apiKey": { "displayName": "laptop" } }),
        "CreateUser" => json!({ "role": "user", "displayName": "Dev" }),
        "UpdateUser" => json!({ "displayName": "Devon" }),
        "CreateSecret" => {
            json!({ "name": "accounts/default/secrets/bucket", "keyName": "BUCKET_KEY", "value": "VALUE" })
        }
        "CreateWebhook" => json!({
            "webhook": { "url": "https://example.org/hook", "eventTypes": ["fine_tuning.job.succeeded"] },
        }),
        "UpdateSecret" => json!({ "keyName": "BUCKET_KEY", "value": "VALUE" }),
        "CreateDataset" => {
            json!({ "datasetId": "support", "dataset": { "userUploaded": {}, "format": "CHAT" } })
        }
        "UpdateDataset" => json!({ "displayName": "Support" }),
        "GetDatasetUploadEndpoint" => json!({ "filenameToSize": { "train.jsonl": 12345 } }),
        "SplitDataset" => json!({ "chunkSize": 100 }),
        "RenderDatasetPreview" => json!({ "baseModel": base }),
        "CreateDatasetValidationJob" => {
            json!({ "datasetName": dataset, "format": "DATASET_VALIDATION_FORMAT_CHAT" })
        }
        "CreateModel" => json!({
            "modelId": "tone",
            "model": {
                "kind": "HF_PEFT_ADDON",
                "peftDetails": { "baseModel": base, "r": 8, "targetModules": ["q_proj", "v_proj"] },
            },
        }),
        "UpdateModel" => json!({ "displayName": "Tone" }),
        "GetModelUploadEndpoint" => {
            json!({ "filenameToSize": { "adapter_config.json": 512, "adapter_model.safetensors": 1234567 } })
        }
        "CreateDeployment" => json!({ "baseModel": base, "minReplicaCount": 0, "maxReplicaCount": 1 }),
        "UpdateDeployment" => json!({ "displayName": "Support" }),
        "ScaleDeployment" => json!({ "replicaCount": 1 }),
        "CreateDeployedModel" => {
            json!({ "model": "accounts/default/models/tone", "deployment": deployment })
        }
        "UpdateDeployedModel" => json!({ "displayName": "Tone" }),
        "CreateBatchInferenceJob" => json!({
            "model": base,
            "inputDatasetId": "accounts/default/datasets/requests",
            "inferenceParameters": { "maxTokens": 16 },
        }),
        "CreateSupervisedFineTuningJob" | "EstimateSupervisedFineTuningJobCost" => {
            json!({ "dataset": dataset, "baseModel": base, "epochs": 3 })
        }
        _ => return None,
    })
}

fn inference(name: &str) -> Option<Value> {
    let model = "accounts/fireworks/models/smollm2-135m-instruct";
    Some(match name {
        "Inference_CreateChatCompletion" => json!({
            "model": model,
            "messages": [{ "role": "user", "content": "Name a colour." }],
            "max_tokens": 16,
        }),
        "Inference_CreateCompletion" => json!({ "model": model, "prompt": "The sky is", "max_tokens": 16 }),
        _ => return None,
    })
}
