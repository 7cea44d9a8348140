//! `POST .../supervisedFineTuningJobs`.

use serde_json::json;

use super::{JOBS, create, server};
use crate::server::install_model;
use crate::snapshot;

#[test]
fn defaults_are_filled_in() {
    let server = server();
    let body = json!({
        "dataset": "accounts/default/datasets/rows",
        "baseModel": "accounts/fireworks/models/tiny",
        "state": "JOB_STATE_COMPLETED",
        "wandbConfig": {},
    });
    let path = format!("{JOBS}?supervisedFineTuningJobId=first");
    snapshot!(server.post(&path, &body));
    // The id is taken.
    snapshot!(server.post(&path, &body));
    // A wrapped job is taken as well; the id is generated.
    let wrapped = json!({"supervisedFineTuningJob": {"dataset": "rows", "baseModel": "tiny", "epochs": 3}});
    let job = server.post(JOBS, &wrapped).ok();
    assert_eq!((&job["epochs"], &job["baseModel"]), (&json!(3), &json!("accounts/fireworks/models/tiny")));
    assert_eq!(job["dataset"], "accounts/default/datasets/rows");
    let id = job["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert!(id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    assert_eq!(job["outputModel"], format!("accounts/default/models/{id}"));
}

#[test]
fn what_is_wrong_is_said_at_once() {
    let server = server();
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "empty"})).ok();
    snapshot!(
        server.post(JOBS, &json!({"dataset": "rows", "baseModel": "none", "epochs": 1000, "loraRank": -1}))
    );
    snapshot!(server.post(JOBS, &json!({"dataset": "rows", "baseModel": "none"})));
    snapshot!(server.post(JOBS, &json!({"dataset": "empty", "baseModel": "tiny"})));
    snapshot!(server.post(JOBS, &json!({"dataset": "gone", "baseModel": "tiny"})));
    snapshot!(server.post(
        JOBS,
        &json!({"dataset": "rows", "baseModel": "tiny", "customImageTag": "x", "mtpEnabled": true})
    ));
    snapshot!(server.post(JOBS, &json!({})));
    assert_eq!(server.get(JOBS).ok()["totalSize"], 0);
}

#[test]
fn evaluation_rows_are_set_aside_unless_a_dataset_is_given() {
    let server = server();
    server.ready_dataset("held-out");
    let body = json!({"dataset": "rows", "baseModel": "tiny", "evalAutoCarveout": true});
    let job = server.post(JOBS, &body).ok();
    assert_eq!((&job["evalAutoCarveout"], &job["evaluationDataset"]), (&json!(true), &json!("")));
    let mut body = body;
    body["evaluationDataset"] = json!("held-out");
    let job = server.post(JOBS, &body).ok();
    let given = json!("accounts/default/datasets/held-out");
    assert_eq!((&job["evalAutoCarveout"], &job["evaluationDataset"]), (&json!(false), &given));
    let filter = format!("{JOBS}?filter=evalAutoCarveout%20%3D%20true");
    assert_eq!(server.get(&filter).ok()["totalSize"], 1);
}

#[test]
fn an_output_model_is_made_once() {
    let server = server();
    install_model(server.dir.path(), "default", "there", Some("tiny"));
    create(&server, "running");
    for taken in ["there", "accounts/default/models/running"] {
        let body = json!({"dataset": "rows", "baseModel": "tiny", "outputModel": taken});
        let (status, code, message) = server.post(JOBS, &body).error();
        assert!((status, code) == (409, 6) && message.contains("output model"), "{message}");
    }
}

#[test]
fn names_of_other_accounts_are_closed() {
    let server = server();
    let acme = server.account("acme");
    let jobs = "/v1/accounts/acme/supervisedFineTuningJobs";
    let body = json!({"dataset": "accounts/default/datasets/rows", "baseModel": "tiny"}).to_string();
    assert_eq!(server.send_as(Some(&acme), "POST", jobs, body.as_bytes()).error().1, 7);
    let body = json!({"dataset": "rows", "baseModel": "accounts/default/models/x"}).to_string();
    assert_eq!(server.send_as(Some(&acme), "POST", jobs, body.as_bytes()).error().1, 7);
}
