//! Jobs on datasets that lie elsewhere: what opens them is checked when the job is made, and never shown.

use hearth_server::{AzureIdentity, StsConfig};
use serde_json::{Value, json};

use super::JOBS;
use crate::server::{Server, install_model};

const ROLE: &str = "arn:aws:iam::123456789012:role/reader";
const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// With the base `tiny`, the datasets `s3`, `azure` and `here`, and secrets good and bad.
fn server(has_identity: bool) -> Server {
    let server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        if has_identity {
            let file = std::path::PathBuf::from("token");
            config.storage.sts = Some(StsConfig::new(None, None, file.clone()).unwrap());
            config.storage.azure_identity = Some(AzureIdentity::new(None, file).unwrap());
        }
    });
    install_model(server.dir.path(), "fireworks", "tiny", None);
    for (id, url) in
        [("s3", "s3://bucket/rows.jsonl"), ("azure", "https://acme1.blob.core.windows.net/rows/train/")]
    {
        server
            .post("/v1/accounts/default/datasets", &json!({"datasetId": id, "dataset": {"externalUrl": url}}))
            .ok();
    }
    server.ready_dataset("here");
    for (id, value) in [
        ("aws", json!({"aws_access_key_id": "id", "aws_secret_access_key": "hush"})),
        ("half", json!({"aws_access_key_id": "hush"})),
        ("azure", json!({"account_key": "aHVzaA=="})),
        ("other", json!({"connection_string": "AccountName=other1;AccountKey=aHVzaA=="})),
    ] {
        let name = format!("accounts/default/secrets/{id}");
        let body = json!({"name": name, "keyName": "KEY", "value": value.to_string()});
        server.post("/v1/accounts/default/secrets", &body).ok();
    }
    server
}

fn job(dataset: &str, more: Value) -> Value {
    let mut job = json!({"dataset": dataset, "baseModel": "tiny"});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job
}

#[test]
fn what_opens_the_rows_is_shown_by_name() {
    let server = server(true);
    let check = |dataset: &str, field: &str, config: Value| {
        let made = server.post(JOBS, &job(dataset, json!({field: config.clone()}))).ok();
        for (name, value) in config.as_object().unwrap() {
            assert_eq!(&made[field][name], value, "{made}");
        }
        assert!(!made.to_string().contains("hush"));
        let path = format!("/v1/{}", made["name"].as_str().unwrap());
        assert_eq!(server.get(&path).ok()[field], made[field]);
    };
    check("s3", "awsS3Config", json!({"credentialsSecret": "accounts/default/secrets/aws"}));
    check("s3", "awsS3Config", json!({"iamRoleArn": ROLE}));
    let azure = "azureBlobStorageConfig";
    check("azure", azure, json!({"credentialsSecret": "accounts/default/secrets/azure"}));
    check("azure", azure, json!({"managedIdentityClientId": UUID, "tenantId": UUID}));
    // Rows may be here, and those to evaluate on elsewhere.
    let eval = json!({"evaluationDataset": "s3", "awsS3Config": {"credentialsSecret": "aws"}});
    server.post(JOBS, &job("here", eval)).ok();
    let found = server.get(&format!("{JOBS}?filter=aws_s3_config.iam_role_arn%20%3D%20%22{ROLE}%22")).ok();
    assert_eq!(found["totalSize"], 1, "{found}");
}

#[test]
fn what_cannot_open_them_is_refused() {
    let server = server(false);
    let check = |dataset: &str, more: Value, expect: (u16, i64), part: &str| {
        let (status, code, message) = server.post(JOBS, &job(dataset, more.clone())).error();
        assert_eq!((status, code), expect, "{more}: {message}");
        assert!(
            message.contains(part) && !message.contains("hush") && !message.contains("aHVzaA"),
            "{message}"
        );
    };
    let aws = |config: Value| json!({"awsS3Config": config});
    let azure = |config: Value| json!({"azureBlobStorageConfig": config});
    check("here", aws(json!({"credentialsSecret": "aws"})), (400, 3), "lies in S3");
    check("azure", aws(json!({"credentialsSecret": "aws"})), (400, 3), "lies in S3");
    check("s3", azure(json!({"credentialsSecret": "azure"})), (400, 3), "lies in Azure");
    check("s3", aws(json!({"credentialsSecret": "none"})), (404, 5), "none");
    check("s3", aws(json!({"credentialsSecret": "accounts/acme/secrets/aws"})), (400, 3), "another account");
    check("s3", aws(json!({"credentialsSecret": "a/b"})), (400, 3), "credentialsSecret");
    check("s3", aws(json!({"credentialsSecret": "half"})), (400, 9), "aws_secret_access_key");
    check("s3", aws(json!({"credentialsSecret": "aws", "iamRoleArn": ROLE})), (400, 3), "both");
    check("s3", aws(json!({"iamRoleArn": "me"})), (400, 3), "iamRoleArn");
    check("s3", aws(json!({"iamRoleArn": ROLE})), (400, 9), "--aws-web-identity-token-file");
    check("azure", azure(json!({"credentialsSecret": "aws"})), (400, 9), "connection_string");
    check("azure", azure(json!({"credentialsSecret": "other"})), (400, 9), "another account");
    check("azure", azure(json!({"managedIdentityClientId": UUID})), (400, 3), "tenantId");
    check(
        "azure",
        azure(json!({"managedIdentityClientId": "x", "tenantId": UUID})),
        (400, 3),
        "is not a UUID",
    );
    let identity = json!({"managedIdentityClientId": UUID, "tenantId": UUID});
    check("azure", azure(identity), (400, 9), "--azure-identity-token-file");
    let path = "/v1/accounts/default/supervisedFineTuningJobs:estimateCost";
    let body = json!({"supervisedFineTuningJob": job("s3", json!({}))});
    let (status, code, message) = server.post(path, &body).error();
    assert_eq!((status, code), (400, 9), "{message}");
    assert!(message.contains("not here yet"), "{message}");
    assert_eq!(server.get(JOBS).ok()["totalSize"], 0);
}
