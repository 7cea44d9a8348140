//! Every RPC of the descriptors, called by strangers and with the key of another account.

use std::collections::BTreeMap;

use crate::server::{Server, install_model};

/// What a key of another account gets.
#[derive(Clone, Copy)]
enum Foreign {
    /// PERMISSION_DENIED, whether the resource is there or not.
    Denied,
    /// The call has no owner: it answers about the caller.
    Own,
}

/// RPC, method, path, body, what a foreign key gets. A new RPC needs a line here, or the test below fails.
#[rustfmt::skip]
const CASES: &[(&str, &str, &str, &str, Foreign)] = &[
    ("CreateAccount", "POST", "/v1/accounts?accountId=x", "{}", Foreign::Denied),
    ("GetAccount", "GET", "/v1/accounts/default", "", Foreign::Denied),
    ("ListAccounts", "GET", "/v1/accounts", "", Foreign::Own),
    ("CreateApiKey", "POST", "/v1/accounts/default/apiKeys", "{}", Foreign::Denied),
    ("CreateDataset", "POST", "/v1/accounts/default/datasets", r#"{"datasetId": "x"}"#, Foreign::Denied),
    ("GetDataset", "GET", "/v1/accounts/default/datasets/rows", "", Foreign::Denied),
    ("ListDatasets", "GET", "/v1/accounts/default/datasets", "", Foreign::Denied),
    ("DeleteDataset", "DELETE", "/v1/accounts/default/datasets/rows", "", Foreign::Denied),
    ("GetDatasetUploadEndpoint", "POST", "/v1/accounts/default/datasets/rows:getUploadEndpoint", r#"{"filenameToSize": {"a.jsonl": 1}}"#, Foreign::Denied),
    ("ValidateDatasetUpload", "POST", "/v1/accounts/default/datasets/rows:validateUpload", "{}", Foreign::Denied),
    ("GetDatasetDownloadEndpoint", "GET", "/v1/accounts/default/datasets/rows:getDownloadEndpoint", "", Foreign::Denied),
    ("GetModel", "GET", "/v1/accounts/default/models/mine", "", Foreign::Denied),
    ("ListModels", "GET", "/v1/accounts/default/models", "", Foreign::Denied),
    ("DeleteModel", "DELETE", "/v1/accounts/default/models/mine", "", Foreign::Denied),
    ("GetModelDownloadEndpoint", "GET", "/v1/accounts/default/models/mine:getDownloadEndpoint", "", Foreign::Denied),
    ("GetDeployedModel", "GET", "/v1/accounts/default/deployedModels/mine", "", Foreign::Denied),
    ("ListDeployedModels", "GET", "/v1/accounts/default/deployedModels", "", Foreign::Denied),
    ("CreateSupervisedFineTuningJob", "POST", "/v1/accounts/default/supervisedFineTuningJobs", r#"{"dataset": "rows", "baseModel": "tiny"}"#, Foreign::Denied),
    ("GetSupervisedFineTuningJob", "GET", "/v1/accounts/default/supervisedFineTuningJobs/j", "", Foreign::Denied),
    ("ListSupervisedFineTuningJobs", "GET", "/v1/accounts/default/supervisedFineTuningJobs", "", Foreign::Denied),
    ("DeleteSupervisedFineTuningJob", "DELETE", "/v1/accounts/default/supervisedFineTuningJobs/j", "", Foreign::Denied),
    ("CancelSupervisedFineTuningJob", "POST", "/v1/accounts/default/supervisedFineTuningJobs/j:cancel", "{}", Foreign::Denied),
    ("ResumeSupervisedFineTuningJob", "POST", "/v1/accounts/default/supervisedFineTuningJobs/j:resume", "{}", Foreign::Denied),
    ("ListApiKeys", "GET", "/v1/accounts/default/apiKeys", "", Foreign::Denied),
    ("DeleteApiKey", "POST", "/v1/accounts/default/apiKeys:delete", r#"{"keyId": "x"}"#, Foreign::Denied),
    ("CreateUser", "POST", "/v1/accounts/default/users", r#"{"role": "user", "email": "a@b.c"}"#, Foreign::Denied),
    ("GetUser", "GET", "/v1/accounts/default/users/u", "", Foreign::Denied),
    ("ListUsers", "GET", "/v1/accounts/default/users", "", Foreign::Denied),
    ("UpdateUser", "PATCH", "/v1/accounts/default/users/u", r#"{"role": "user"}"#, Foreign::Denied),
    ("DeleteUser", "DELETE", "/v1/accounts/default/users/u", "", Foreign::Denied),
    ("CreateSecret", "POST", "/v1/accounts/default/secrets", r#"{"name": "s", "keyName": "K", "value": "v"}"#, Foreign::Denied),
    ("GetSecret", "GET", "/v1/accounts/default/secrets/s", "", Foreign::Denied),
    ("ListSecrets", "GET", "/v1/accounts/default/secrets", "", Foreign::Denied),
    ("UpdateSecret", "PATCH", "/v1/accounts/default/secrets/s", r#"{"keyName": "K", "value": "v"}"#, Foreign::Denied),
    ("DeleteSecret", "DELETE", "/v1/accounts/default/secrets/s", "", Foreign::Denied),
    ("GetQuota", "GET", "/v1/accounts/default/quotas/q", "", Foreign::Denied),
    ("ListQuotas", "GET", "/v1/accounts/default/quotas", "", Foreign::Denied),
    ("UpdateDataset", "PATCH", "/v1/accounts/default/datasets/rows", r#"{"displayName": "x"}"#, Foreign::Denied),
    ("PreviewDataset", "GET", "/v1/accounts/default/datasets/rows:preview", "", Foreign::Denied),
    ("SplitDataset", "POST", "/v1/accounts/default/datasets/rows:splitDataset", r#"{"chunkSize": 2}"#, Foreign::Denied),
    ("RenderDatasetPreview", "POST", "/v1/accounts/default/datasets/rows:renderPreview", r#"{"baseModel": "tiny"}"#, Foreign::Denied),
    ("CreateDatasetValidationJob", "POST", "/v1/accounts/default/datasetValidationJobs", r#"{"datasetName": "rows"}"#, Foreign::Denied),
    ("GetDatasetValidationJob", "GET", "/v1/accounts/default/datasetValidationJobs/j", "", Foreign::Denied),
    ("CreateModel", "POST", "/v1/accounts/default/models", r#"{"modelId": "m"}"#, Foreign::Denied),
    ("UpdateModel", "PATCH", "/v1/accounts/default/models/mine", r#"{"displayName": "x"}"#, Foreign::Denied),
    ("GetModelUploadEndpoint", "POST", "/v1/accounts/default/models/mine:getUploadEndpoint", r#"{"filenameToSize": {"config.json": 1}}"#, Foreign::Denied),
    ("ValidateModelUpload", "GET", "/v1/accounts/default/models/mine:validateUpload", "", Foreign::Denied),
    ("PrepareModel", "POST", "/v1/accounts/default/models/mine:prepare", "{}", Foreign::Denied),
    ("ImportModel", "POST", "/v1/accounts/default/models/mine:import", "{}", Foreign::Denied),
    ("GetOperation", "GET", "/v1/accounts/default/operations/o", "", Foreign::Denied),
    ("CreateDeployedModel", "POST", "/v1/accounts/default/deployedModels", r#"{"model": "accounts/default/models/mine"}"#, Foreign::Denied),
    ("UpdateDeployedModel", "PATCH", "/v1/accounts/default/deployedModels/mine", r#"{"displayName": "x"}"#, Foreign::Denied),
    ("DeleteDeployedModel", "DELETE", "/v1/accounts/default/deployedModels/mine", "", Foreign::Denied),
    ("CreateDeployment", "POST", "/v1/accounts/default/deployments", r#"{"baseModel": "accounts/fireworks/models/tiny"}"#, Foreign::Denied),
    ("GetDeployment", "GET", "/v1/accounts/default/deployments/d", "", Foreign::Denied),
    ("ListDeployments", "GET", "/v1/accounts/default/deployments", "", Foreign::Denied),
    ("UpdateDeployment", "PATCH", "/v1/accounts/default/deployments/d", r#"{"displayName": "x"}"#, Foreign::Denied),
    ("ScaleDeployment", "PATCH", "/v1/accounts/default/deployments/d:scale", r#"{"replicaCount": 1}"#, Foreign::Denied),
    ("DeleteDeployment", "DELETE", "/v1/accounts/default/deployments/d", "", Foreign::Denied),
    ("UndeleteDeployment", "POST", "/v1/accounts/default/deployments/d:undelete", "{}", Foreign::Denied),
    ("CreateBatchInferenceJob", "POST", "/v1/accounts/default/batchInferenceJobs", r#"{"model": "accounts/fireworks/models/tiny", "inputDatasetId": "rows"}"#, Foreign::Denied),
    ("GetBatchInferenceJob", "GET", "/v1/accounts/default/batchInferenceJobs/j", "", Foreign::Denied),
    ("ListBatchInferenceJobs", "GET", "/v1/accounts/default/batchInferenceJobs", "", Foreign::Denied),
    ("DeleteBatchInferenceJob", "DELETE", "/v1/accounts/default/batchInferenceJobs/j", "", Foreign::Denied),
    ("EstimateSupervisedFineTuningJobCost", "POST", "/v1/accounts/default/supervisedFineTuningJobs:estimateCost", r#"{"dataset": "rows", "baseModel": "tiny"}"#, Foreign::Denied),
    ("ListSupervisedFineTuningJobCheckpoints", "GET", "/v1/accounts/default/supervisedFineTuningJobs/j/checkpoints", "", Foreign::Denied),
    ("PromoteSupervisedFineTuningJobCheckpoint", "POST", "/v1/accounts/default/supervisedFineTuningJobs/j/checkpoints/c:promote", r#"{"outputModel": "m"}"#, Foreign::Denied),
];

/// RPCs without a REST binding; `grpc.rs` calls them.
const GRPC_ONLY: &[&str] = &["ListServerlessLoraModels", "UploadDataset"];

/// Routes beside the RPCs that need a key.
const OTHER: &[(&str, &str)] = &[
    ("POST", "/v1/accounts/default/datasets/rows:upload"),
    ("GET", "/verifyApiKey"),
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/inference/v1/chat/completions"),
];

#[test]
fn every_rpc_has_a_case() {
    let pool = hearth_proto::descriptor_pool();
    let service = pool.get_service_by_name("gateway.Gateway").unwrap();
    let mut cases: BTreeMap<&str, usize> = BTreeMap::new();
    for rpc in CASES.iter().map(|case| &case.0).chain(GRPC_ONLY) {
        *cases.entry(rpc).or_default() += 1;
    }
    for method in service.methods() {
        assert_eq!(cases.remove(method.name()), Some(1), "{} has no case in this file", method.name());
    }
    assert!(cases.is_empty(), "cases without an RPC: {cases:?}");
}

#[test]
fn strangers_and_foreign_keys_get_nothing() {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    install_model(server.dir.path(), "default", "mine", Some("tiny"));
    server.ready_dataset("rows");
    let foreign = server.account("acme");
    let before = server.get("/v1/accounts/default/datasets/rows").json();
    for (rpc, method, path, body, expect) in CASES {
        for key in [None, Some("fw_wrong"), Some("")] {
            let (status, code, _) = server.send_as(key, method, path, body.as_bytes()).error();
            assert_eq!((status, code), (401, 16), "{rpc} with key {key:?}");
        }
        let reply = server.send_as(Some(&foreign), method, path, body.as_bytes());
        match expect {
            Foreign::Denied => {
                let (status, code, message) = reply.error();
                assert_eq!((status, code), (403, 7), "{rpc}: {message}");
                // Nothing is learnt about what exists.
                let absent = path.replace("/default/", "/absent/");
                let reply = server.send_as(Some(&foreign), method, &absent, body.as_bytes());
                assert_eq!(reply.error().1, 7, "{rpc} on an account that does not exist");
            }
            Foreign::Own => assert!(!String::from_utf8_lossy(&reply.body).contains("default"), "{rpc}"),
        }
    }
    for (method, path) in OTHER {
        assert_eq!(server.send_as(None, method, path, b"{}").status, 401, "{method} {path}");
    }
    assert_eq!(server.get("/v1/accounts/default/datasets/rows").json(), before);
}
