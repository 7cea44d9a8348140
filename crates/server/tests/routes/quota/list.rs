//! `GET /v1/accounts/{account}/quotas`.

use hearth_domain::QuotaKind;
use serde_json::{Value, json};

use super::QUOTAS;
use crate::list_rules::every_value_is_found;
use crate::server::{Server, install_model};
use crate::supervised_fine_tuning_job::JOBS;

/// Ids and usage of the listed quotas.
fn shown(page: &Value) -> Vec<(String, f64)> {
    let one = |quota: &Value| {
        let name = quota["name"].as_str().unwrap();
        (name.rsplit('/').next().unwrap().to_owned(), quota["usage"].as_f64().unwrap())
    };
    page["quotas"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn what_is_used_is_counted() {
    let server = crate::supervised_fine_tuning_job::server();
    install_model(server.dir.path(), "default", "mine", Some("tiny"));
    server
        .post(
            &format!("{JOBS}?supervisedFineTuningJobId=j"),
            &json!({"dataset": "rows", "baseModel": "tiny"}),
        )
        .ok();
    server.get("/v1/accounts/default/models").ok();
    let page = server.get(QUOTAS).ok();
    let expect = [
        ("api-keys", 1.0),
        ("datasets", 1.0),
        ("deployments", 0.0),
        // One is there and one is to be made.
        ("models", 2.0),
        ("open-batch-inference-jobs", 0.0),
        ("open-supervised-fine-tuning-jobs", 1.0),
        ("running-supervised-fine-tuning-jobs", 0.0),
        ("secrets", 0.0),
        ("users", 1.0),
    ]
    .map(|(id, usage)| (id.to_owned(), usage));
    assert_eq!(shown(&page), expect);
    assert_eq!(page["totalSize"], QuotaKind::ALL.len());
    server.post(&format!("{JOBS}/j:cancel"), &json!({})).ok();
    let used = server.get(&format!("{QUOTAS}?filter=usage%20%3E%200&orderBy=usage%20desc,name")).ok();
    let expect = ["api-keys", "datasets", "models", "users"].map(|id| (id.to_owned(), 1.0));
    assert_eq!(shown(&used), expect);
}

#[test]
fn the_rules_of_lists_hold() {
    let server = Server::start();
    every_value_is_found(&server, QUOTAS);
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = server.get(&format!("{QUOTAS}?pageSize=3&orderBy=value%20desc&pageToken={token}")).ok();
        seen.extend(shown(&page).into_iter().map(|(id, _)| id));
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), QuotaKind::ALL.len(), "{seen:?}");
    assert_eq!(seen[0], "models");
    let masked = server.get(&format!("{QUOTAS}?pageSize=1&readMask=name")).ok();
    assert_eq!(masked["quotas"], json!([{"name": "accounts/default/quotas/api-keys"}]));
    assert_eq!(server.get(&format!("{QUOTAS}?pageSize=-1")).error().1, 3);
    assert_eq!(server.get(&format!("{QUOTAS}?filter=gpus=1")).error().1, 3);
    assert_eq!(server.get("/v1/accounts/nobody/quotas").error().1, 5);
}
