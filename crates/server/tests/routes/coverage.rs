//! Who may call what: one table of every RPC, asked over REST and over gRPC with each kind of key.

use std::collections::BTreeMap;

use hearth_domain::{AccountId, KeyRights, User};
use hearth_store::{NewApiKey, Store};
use prost::Message;
use prost_reflect::{DynamicMessage, Kind, MethodDescriptor, Value};
use serde_json::json;

use crate::server::{Server, install_model};
use crate::user::user_with_key;

/// What a caller needs in the account that a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// Any valid key: the call has no owner and answers about the caller.
    Nothing,
    /// A key of the account.
    Read,
    /// One whose role may change something.
    Change,
    /// One of an admin.
    Admin,
    /// The operator's.
    Operator,
}
use Needs::{Admin, Change, Nothing, Operator, Read};

/// RPC, method, path, body, what it needs. A new RPC needs a line here, or the test below fails.
#[rustfmt::skip]
const CASES: &[(&str, &str, &str, &str, Needs)] = &[
    ("CreateAccount", "POST", "/v1/accounts?accountId=x", "{}", Operator),
    ("GetAccount", "GET", "/v1/accounts/default", "", Read),
    ("ListAccounts", "GET", "/v1/accounts", "", Nothing),
    ("SuspendAccount", "POST", "/v1/accounts/default:suspend", "{}", Operator),
    ("UnsuspendAccount", "POST", "/v1/accounts/default:unsuspend", "{}", Operator),
    ("CreateApiKey", "POST", "/v1/accounts/default/apiKeys", "{}", Change),
    ("CreateDataset", "POST", "/v1/accounts/default/datasets", r#"{"datasetId": "x"}"#, Change),
    ("GetDataset", "GET", "/v1/accounts/default/datasets/rows", "", Read),
    ("ListDatasets", "GET", "/v1/accounts/default/datasets", "", Read),
    ("DeleteDataset", "DELETE", "/v1/accounts/default/datasets/rows", "", Change),
    ("GetDatasetUploadEndpoint", "POST", "/v1/accounts/default/datasets/rows:getUploadEndpoint", r#"{"filenameToSize": {"a.jsonl": 1}}"#, Change),
    ("ValidateDatasetUpload", "POST", "/v1/accounts/default/datasets/rows:validateUpload", "{}", Change),
    ("GetDatasetDownloadEndpoint", "GET", "/v1/accounts/default/datasets/rows:getDownloadEndpoint", "", Read),
    ("GetModel", "GET", "/v1/accounts/default/models/mine", "", Read),
    ("ListModels", "GET", "/v1/accounts/default/models", "", Read),
    ("FindModelsByRow", "GET", "/v1/accounts/default/models:findByRow?rowDigest=0123456789abcdef0123456789abcdef", "", Read),
    ("DeleteModel", "DELETE", "/v1/accounts/default/models/mine", "", Change),
    ("GetModelDownloadEndpoint", "GET", "/v1/accounts/default/models/mine:getDownloadEndpoint", "", Read),
    ("GetDeployedModel", "GET", "/v1/accounts/default/deployedModels/mine", "", Read),
    ("ListDeployedModels", "GET", "/v1/accounts/default/deployedModels", "", Read),
    ("CreateSupervisedFineTuningJob", "POST", "/v1/accounts/default/supervisedFineTuningJobs", r#"{"dataset": "rows", "baseModel": "tiny"}"#, Change),
    ("GetSupervisedFineTuningJob", "GET", "/v1/accounts/default/supervisedFineTuningJobs/j", "", Read),
    ("ListSupervisedFineTuningJobs", "GET", "/v1/accounts/default/supervisedFineTuningJobs", "", Read),
    ("DeleteSupervisedFineTuningJob", "DELETE", "/v1/accounts/default/supervisedFineTuningJobs/j", "", Change),
    ("CancelSupervisedFineTuningJob", "POST", "/v1/accounts/default/supervisedFineTuningJobs/j:cancel", "{}", Change),
    ("PauseSupervisedFineTuningJob", "POST", "/v1/accounts/default/supervisedFineTuningJobs/j:pause", "{}", Change),
    ("ResumeSupervisedFineTuningJob", "POST", "/v1/accounts/default/supervisedFineTuningJobs/j:resume", "{}", Change),
    ("ListSupervisedFineTuningJobEvents", "GET", "/v1/accounts/default/supervisedFineTuningJobs/j/events", "", Read),
    ("ListApiKeys", "GET", "/v1/accounts/default/apiKeys", "", Read),
    ("DeleteApiKey", "POST", "/v1/accounts/default/apiKeys:delete", r#"{"keyId": "x"}"#, Change),
    ("CreateUser", "POST", "/v1/accounts/default/users", r#"{"role": "user", "email": "a@b.c"}"#, Admin),
    ("GetUser", "GET", "/v1/accounts/default/users/u", "", Admin),
    ("ListUsers", "GET", "/v1/accounts/default/users", "", Admin),
    ("UpdateUser", "PATCH", "/v1/accounts/default/users/u", r#"{"role": "user"}"#, Admin),
    ("DeleteUser", "DELETE", "/v1/accounts/default/users/u", "", Admin),
    ("CreateWebhook", "POST", "/v1/accounts/default/webhooks", r#"{"webhook": {"url": "https://example.org/"}}"#, Change),
    ("GetWebhook", "GET", "/v1/accounts/default/webhooks/w", "", Read),
    ("ListWebhooks", "GET", "/v1/accounts/default/webhooks", "", Read),
    ("DeleteWebhook", "DELETE", "/v1/accounts/default/webhooks/w", "", Change),
    ("CreateSecret", "POST", "/v1/accounts/default/secrets", r#"{"name": "s", "keyName": "K", "value": "v"}"#, Change),
    ("GetSecret", "GET", "/v1/accounts/default/secrets/s", "", Read),
    ("ListSecrets", "GET", "/v1/accounts/default/secrets", "", Read),
    ("UpdateSecret", "PATCH", "/v1/accounts/default/secrets/s", r#"{"keyName": "K", "value": "v"}"#, Change),
    ("DeleteSecret", "DELETE", "/v1/accounts/default/secrets/s", "", Change),
    ("GetQuota", "GET", "/v1/accounts/default/quotas/q", "", Read),
    ("ListQuotas", "GET", "/v1/accounts/default/quotas", "", Read),
    ("UpdateDataset", "PATCH", "/v1/accounts/default/datasets/rows", r#"{"displayName": "x"}"#, Change),
    ("PreviewDataset", "GET", "/v1/accounts/default/datasets/rows:preview", "", Read),
    ("SplitDataset", "POST", "/v1/accounts/default/datasets/rows:splitDataset", r#"{"chunkSize": 2}"#, Change),
    ("RenderDatasetPreview", "POST", "/v1/accounts/default/datasets/rows:renderPreview", r#"{"baseModel": "tiny"}"#, Read),
    ("CreateDatasetValidationJob", "POST", "/v1/accounts/default/datasetValidationJobs", r#"{"datasetName": "rows"}"#, Change),
    ("GetDatasetValidationJob", "GET", "/v1/accounts/default/datasetValidationJobs/j", "", Read),
    ("CreateModel", "POST", "/v1/accounts/default/models", r#"{"modelId": "m"}"#, Change),
    ("UpdateModel", "PATCH", "/v1/accounts/default/models/mine", r#"{"displayName": "x"}"#, Change),
    ("GetModelUploadEndpoint", "POST", "/v1/accounts/default/models/mine:getUploadEndpoint", r#"{"filenameToSize": {"config.json": 1}}"#, Change),
    ("ValidateModelUpload", "GET", "/v1/accounts/default/models/mine:validateUpload", "", Change),
    ("PrepareModel", "POST", "/v1/accounts/default/models/mine:prepare", "{}", Change),
    ("ImportModel", "POST", "/v1/accounts/default/models/mine:import", "{}", Change),
    ("GetOperation", "GET", "/v1/accounts/default/operations/o", "", Read),
    ("CreateDeployedModel", "POST", "/v1/accounts/default/deployedModels", r#"{"model": "accounts/default/models/mine"}"#, Change),
    ("UpdateDeployedModel", "PATCH", "/v1/accounts/default/deployedModels/mine", r#"{"displayName": "x"}"#, Change),
    ("DeleteDeployedModel", "DELETE", "/v1/accounts/default/deployedModels/mine", "", Change),
    ("CreateDeployment", "POST", "/v1/accounts/default/deployments", r#"{"baseModel": "accounts/fireworks/models/tiny"}"#, Change),
    ("GetDeployment", "GET", "/v1/accounts/default/deployments/d", "", Read),
    ("ListDeployments", "GET", "/v1/accounts/default/deployments", "", Read),
    ("UpdateDeployment", "PATCH", "/v1/accounts/default/deployments/d", r#"{"displayName": "x"}"#, Change),
    ("ScaleDeployment", "PATCH", "/v1/accounts/default/deployments/d:scale", r#"{"replicaCount": 1}"#, Change),
    ("DeleteDeployment", "DELETE", "/v1/accounts/default/deployments/d", "", Change),
    ("UndeleteDeployment", "POST", "/v1/accounts/default/deployments/d:undelete", "{}", Change),
    ("CreateBatchInferenceJob", "POST", "/v1/accounts/default/batchInferenceJobs", r#"{"model": "accounts/fireworks/models/tiny", "inputDatasetId": "rows"}"#, Change),
    ("GetBatchInferenceJob", "GET", "/v1/accounts/default/batchInferenceJobs/j", "", Read),
    ("ListBatchInferenceJobs", "GET", "/v1/accounts/default/batchInferenceJobs", "", Read),
    ("DeleteBatchInferenceJob", "DELETE", "/v1/accounts/default/batchInferenceJobs/j", "", Change),
    ("EstimateSupervisedFineTuningJobCost", "POST", "/v1/accounts/default/supervisedFineTuningJobs:estimateCost", r#"{"dataset": "rows", "baseModel": "tiny"}"#, Read),
    ("ListSupervisedFineTuningJobCheckpoints", "GET", "/v1/accounts/default/supervisedFineTuningJobs/j/checkpoints", "", Read),
    ("PromoteSupervisedFineTuningJobCheckpoint", "POST", "/v1/accounts/default/supervisedFineTuningJobs/j/checkpoints/c:promote", r#"{"outputModel": "m"}"#, Change),
];

/// RPCs without a REST binding, what they are about, what they need.
const GRPC_ONLY: &[(&str, &str, Needs)] = &[
    ("ListServerlessLoraModels", "/v1/accounts/default", Nothing),
    ("UploadDataset", "/v1/accounts/default/datasets/rows", Change),
];

/// Routes beside the RPCs that need a key.
const OTHER: &[(&str, &str)] = &[
    ("POST", "/v1/accounts/default/datasets/rows:upload"),
    ("GET", "/v1/accounts/default/supervisedFineTuningJobs/j/events:stream"),
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
    for rpc in CASES.iter().map(|case| case.0).chain(GRPC_ONLY.iter().map(|case| case.0)) {
        *cases.entry(rpc).or_default() += 1;
    }
    for method in service.methods() {
        assert_eq!(cases.remove(method.name()), Some(1), "{} has no case in this file", method.name());
    }
    assert!(cases.is_empty(), "cases without an RPC: {cases:?}");
}

/// What an RPC is about, as its path says it.
pub(crate) fn path_of(rpc: &str) -> &'static str {
    let rest = CASES.iter().map(|case| (case.0, case.2));
    let others = GRPC_ONLY.iter().map(|case| (case.0, case.1));
    rest.chain(others).find(|case| case.0 == rpc).expect("every RPC has a case").1
}

/// A server with something to ask for.
pub(crate) fn filled() -> Server {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    install_model(server.dir.path(), "default", "mine", Some("tiny"));
    server.ready_dataset("rows");
    server
}

/// What no call may change.
fn rows(server: &Server) -> serde_json::Value {
    server.get("/v1/accounts/default/datasets/rows").json()
}

/// Keys that open nothing: none, an empty one, an unknown one, one that was taken back, one that has ended, and one of a
/// user who is gone.
fn worthless(server: &Server) -> Vec<Option<String>> {
    let deleted = user_with_key(server, "deleted", "admin");
    let page = server.get("/v1/accounts/default/users/deleted/apiKeys").ok();
    let body = json!({ "keyId": page["apiKeys"][0]["keyId"] });
    server.post("/v1/accounts/default/users/deleted/apiKeys:delete", &body).ok();
    let orphan = user_with_key(server, "gone", "admin");
    server.delete("/v1/accounts/default/users/gone").ok();
    // The API makes no key that has ended already.
    let expired = server.runtime().block_on(async {
        let store = Store::open(server.dir.path(), 0).await.unwrap();
        let account = AccountId::new("default").unwrap();
        let user: User = store.get(&account, "operator").await.unwrap();
        let new = NewApiKey {
            user,
            display_name: String::new(),
            rights: KeyRights::OfUser,
            expire_time_ms: Some(2),
        };
        store.api_key_create(new, 1).await.unwrap().1
    });
    vec![None, Some(String::new()), Some("fw_wrong".to_owned()), Some(deleted), Some(orphan), Some(expired)]
}

/// Keys of the account, with the most that calls of them may need.
fn members(server: &Server) -> [(&'static str, String, Needs); 4] {
    [("read-only", Read), ("inference-user", Read), ("user", Change), ("admin", Admin)]
        .map(|(role, may)| (role, user_with_key(server, role, role), may))
}

#[test]
fn worthless_and_foreign_keys_get_nothing() {
    let server = filled();
    let worthless = worthless(&server);
    let foreign = server.account("acme");
    let before = rows(&server);
    for (rpc, method, path, body, needs) in CASES {
        for key in &worthless {
            let (status, code, _) = server.send_as(key.as_deref(), method, path, body.as_bytes()).error();
            assert_eq!((status, code), (401, 16), "{rpc} with key {key:?}");
        }
        let reply = server.send_as(Some(&foreign), method, path, body.as_bytes());
        if *needs == Nothing {
            assert!(!String::from_utf8_lossy(&reply.body).contains("default"), "{rpc}");
            continue;
        }
        let (status, code, message) = reply.error();
        assert_eq!((status, code), (403, 7), "{rpc}: {message}");
        // Nothing is learnt about what exists.
        let absent = path.replace("/default/", "/absent/");
        let reply = server.send_as(Some(&foreign), method, &absent, body.as_bytes());
        assert_eq!(reply.error().1, 7, "{rpc} on an account that does not exist");
    }
    for (method, path) in OTHER {
        for key in &worthless {
            assert_eq!(server.send_as(key.as_deref(), method, path, b"{}").status, 401, "{method} {path}");
        }
    }
    assert_eq!(rows(&server), before);
}

#[test]
fn each_role_does_what_it_may() {
    let server = filled();
    let before = rows(&server);
    for (role, key, may) in members(&server) {
        for (rpc, method, path, body, needs) in CASES {
            let reply = server.send_as(Some(&key), method, path, body.as_bytes());
            if *needs > may {
                assert_eq!((reply.status, reply.error().1), (403, 7), "{rpc} with the role {role}");
            } else {
                // What it comes to is for the tests of the call.
                assert!(![401, 403].contains(&reply.status), "{rpc} with the role {role}: {}", reply.status);
            }
        }
        let upload = server.send_as(Some(&key), "POST", "/v1/accounts/default/datasets/rows:upload", b"");
        assert_eq!(upload.status == 403, Change > may, "uploading with the role {role}: {}", upload.status);
        if may == Read {
            assert_eq!(rows(&server), before, "{role}");
        }
    }
}

/// A message that names something of the account `default` and is otherwise empty.
pub(crate) fn named(method: &MethodDescriptor, path: &str) -> DynamicMessage {
    let path = path.strip_prefix("/v1/").unwrap();
    let name = path.split(['?', ':']).next().unwrap();
    // A collection is of its parent, and so is a resource of a collection.
    let up = |name: &'_ str, steps: usize| name.rsplitn(steps + 1, '/').last().unwrap_or(name).to_owned();
    let parent = up(name, if name.split('/').count().is_multiple_of(2) { 2 } else { 1 });
    let mut message = DynamicMessage::new(method.input());
    for field in method.input().fields() {
        match (field.name(), field.kind()) {
            ("name", Kind::String) => message.set_field(&field, Value::String(name.to_owned())),
            ("parent", Kind::String) => message.set_field(&field, Value::String(parent.clone())),
            (_, Kind::Message(inner)) if method.name().starts_with("Update") && !field.is_list() => {
                let mut resource = DynamicMessage::new(inner.clone());
                if resource.try_set_field_by_name("name", Value::String(name.to_owned())).is_ok() {
                    message.set_field(&field, Value::Message(resource));
                }
            }
            _ => {}
        }
    }
    message
}

/// The code of a call over gRPC.
fn grpc_code(server: &Server, key: Option<&str>, rpc: &str, content: &[u8]) -> i32 {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(content);
    let mut headers = vec![("content-type", "application/grpc")];
    headers.extend(key.map(|key| ("x-api-key", key)));
    let reply = server.request(&headers, "POST", &format!("/gateway.Gateway/{rpc}"), &frame);
    assert_eq!(reply.status, 200, "{rpc}");
    // An answer that is no error has its code behind the message, where this client does not look.
    reply.headers.get("grpc-status").map_or(0, |code| code.parse().unwrap())
}

#[test]
fn the_same_over_grpc() {
    let server = filled();
    let worthless = worthless(&server);
    let foreign = server.account("acme");
    let members = members(&server);
    let service = hearth_proto::descriptor_pool().get_service_by_name("gateway.Gateway").unwrap();
    for method in service.methods() {
        let rpc = method.name();
        let path = path_of(rpc);
        let needs =
            CASES.iter().map(|case| (case.0, case.4)).chain(GRPC_ONLY.iter().map(|case| (case.0, case.2)));
        let (_, needs) = needs.into_iter().find(|case| case.0 == rpc).expect("every RPC has a case");
        let content = named(&method, path).encode_to_vec();
        for key in &worthless {
            assert_eq!(grpc_code(&server, key.as_deref(), rpc, &content), 16, "{rpc} with key {key:?}");
        }
        let code = grpc_code(&server, Some(&foreign), rpc, &content);
        assert_eq!(code, if needs == Nothing { 0 } else { 7 }, "{rpc} with the key of another account");
        for (role, key, may) in &members {
            let code = grpc_code(&server, Some(key), rpc, &content);
            assert_eq!(code == 7, needs > *may, "{rpc} with the role {role}: {code}");
            assert_ne!(code, 16, "{rpc} with the role {role}");
        }
    }
}
