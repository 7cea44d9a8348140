//! What a quota does not allow is not made.

use hearth_domain::QuotaKind;
use hearth_proto::gateway as pb;
use hearth_proto::gateway::gateway_client::GatewayClient;
use serde_json::{Value, json};
use tonic::{Code, Request};

use super::QUOTAS;
use crate::server::{Reply, Server, install_model, rows};
use crate::supervised_fine_tuning_job::JOBS;

const A: &str = "/v1/accounts/default";

fn limited(limits: &[(QuotaKind, u64)]) -> Server {
    let server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        for (kind, limit) in limits {
            config.limits.quotas.set(None, *kind, *limit);
        }
    });
    install_model(server.dir.path(), "fireworks", "tiny", None);
    server
}

/// Refused because of this quota, and not to be tried again.
#[track_caller]
fn exceeded(reply: &Reply, quota: &str) {
    let body = reply.json();
    assert_eq!((reply.status, &body["code"]), (429, &json!(8)), "{body}");
    let name = format!("accounts/default/quotas/{quota}");
    let detail = &body["details"][0];
    assert_eq!(detail["@type"], "type.googleapis.com/google.rpc.QuotaFailure", "{body}");
    assert_eq!(detail["violations"][0]["subject"], name.as_str(), "{body}");
    assert!(body["message"].as_str().unwrap().starts_with(&format!("quota {name} allows ")), "{body}");
    assert_eq!(reply.headers.get("x-should-retry").map(String::as_str), Some("false"));
    assert!(!reply.headers.contains_key("retry-after"), "waiting does not help");
}

fn usage(server: &Server, quota: &str) -> Value {
    server.get(&format!("{QUOTAS}/{quota}")).ok()["usage"].clone()
}

#[test]
fn of_resources_that_are_one_record() {
    let server = limited(&[
        (QuotaKind::Secrets, 1),
        (QuotaKind::Users, 2),
        (QuotaKind::ApiKeys, 2),
        (QuotaKind::Models, 1),
    ]);
    let secret =
        |id: &str| server.post(&format!("{A}/secrets"), &json!({"name": id, "keyName": "K", "value": "v"}));
    secret("a").ok();
    exceeded(&secret("b"), "secrets");
    server.delete(&format!("{A}/secrets/a")).ok();
    secret("b").ok();
    let user = |email: &str| server.post(&format!("{A}/users"), &json!({"role": "user", "email": email}));
    user("a@example.org").ok();
    exceeded(&user("b@example.org"), "users");
    // A key for a new user would make that user.
    let key = |email: &str| server.post(&format!("{A}/apiKeys"), &json!({"apiKey": {"email": email}}));
    exceeded(&key("b@example.org"), "users");
    key("a@example.org").ok();
    exceeded(&key("a@example.org"), "api-keys");
    let model = |id: &str| {
        let details =
            json!({"baseModel": "accounts/fireworks/models/tiny", "r": 8, "targetModules": ["q_proj"]});
        server.post(&format!("{A}/models"), &json!({"modelId": id, "model": {"peftDetails": details}}))
    };
    model("a").ok();
    exceeded(&model("b"), "models");
    server.delete(&format!("{A}/models/a")).ok();
    model("b").ok();
}

#[test]
fn of_deployments_until_they_are_gone_for_good() {
    let server = limited(&[(QuotaKind::Deployments, 1)]);
    let create = |id: &str| {
        let body = json!({"baseModel": "accounts/fireworks/models/tiny", "minReplicaCount": 0});
        server.post(&format!("{A}/deployments?deploymentId={id}&disableAutoDeploy=true"), &body)
    };
    create("a").ok();
    exceeded(&create("b"), "deployments");
    server.delete(&format!("{A}/deployments/a")).ok();
    exceeded(&create("b"), "deployments");
    server.delete(&format!("{A}/deployments/a?hard=true")).ok();
    assert_eq!(usage(&server, "deployments"), 0.0);
    create("b").ok();
}

#[test]
fn of_datasets_however_they_are_made() {
    let server = limited(&[(QuotaKind::Datasets, 2)]);
    let datasets = format!("{A}/datasets");
    server.ready_dataset("rows");
    exceeded(&server.post(&format!("{datasets}/rows:splitDataset"), &json!({"chunkSize": 2})), "datasets");
    server.post(&datasets, &json!({"datasetId": "copy", "sourceDatasetId": "rows"})).ok();
    exceeded(&server.post(&datasets, &json!({"datasetId": "more"})), "datasets");
    exceeded(&server.post(&datasets, &json!({"datasetId": "more", "sourceDatasetId": "rows"})), "datasets");
    assert_eq!(usage(&server, "datasets"), 2.0);
    // What is there goes on working.
    server.delete(&format!("{datasets}/copy")).ok();
    server.post(&datasets, &json!({"datasetId": "more"})).ok();
    server.upload(&format!("{datasets}/more:upload"), "a.jsonl", rows().as_bytes()).ok();
}

#[test]
fn of_jobs_that_are_open() {
    let server = limited(&[(QuotaKind::OpenSupervisedFineTuningJobs, 1)]);
    server.ready_dataset("rows");
    let create = |id: &str| {
        let body = json!({"dataset": "rows", "baseModel": "tiny"});
        server.post(&format!("{JOBS}?supervisedFineTuningJobId={id}"), &body)
    };
    create("a").ok();
    exceeded(&create("b"), "open-supervised-fine-tuning-jobs");
    server.post(&format!("{JOBS}/a:cancel"), &json!({})).ok();
    create("b").ok();
    exceeded(&server.post(&format!("{JOBS}/a:resume"), &json!({})), "open-supervised-fine-tuning-jobs");
    server.delete(&format!("{JOBS}/b")).ok();
    server.post(&format!("{JOBS}/a:resume"), &json!({})).ok();
    assert_eq!(usage(&server, "open-supervised-fine-tuning-jobs"), 1.0);
}

/// Many at once: as many are made as there is room for.
#[test]
fn whoever_comes_at_the_same_time() {
    let server = limited(&[(QuotaKind::Datasets, 3)]);
    let made = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..12)
            .map(|i| {
                let server = &server;
                scope.spawn(move || {
                    let id = format!("d{i}");
                    server.post(&format!("{A}/datasets"), &json!({"datasetId": id})).status
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).filter(|status| *status == 200).count()
    });
    assert_eq!(made, 3);
    assert_eq!(usage(&server, "datasets"), 3.0);
}

#[test]
fn over_grpc() {
    let server = limited(&[(QuotaKind::Datasets, 0)]);
    server.runtime().block_on(async {
        let mut client = GatewayClient::connect(server.base.clone()).await.unwrap();
        let mut request = Request::new(pb::CreateDatasetRequest {
            parent: "accounts/default".to_owned(),
            dataset_id: "d".to_owned(),
            ..Default::default()
        });
        request.metadata_mut().insert("x-api-key", server.key.parse().unwrap());
        let refused = client.create_dataset(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.metadata().get("retry-after").is_none());
        let details = String::from_utf8_lossy(refused.details()).into_owned();
        assert!(details.contains("accounts/default/quotas/datasets"), "{details}");
    });
}
