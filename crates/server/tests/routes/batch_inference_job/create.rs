//! What a job may ask for.

use serde_json::{Value, json};

use super::{JOBS, body, create, server, wait};

#[test]
fn wrong_jobs_are_refused_with_their_field() {
    let server = server(3);
    server.ready_dataset("training");
    let check = |more: Value, status: u16, expect: &str| {
        let (found, _, message) = server.post(JOBS, &body(more.clone())).error();
        assert!(found == status && message.contains(expect), "{more}: {found} {message}");
    };
    check(json!({"model": ""}), 400, "batchInferenceJob.model: is required");
    check(json!({"inputDatasetId": ""}), 400, "batchInferenceJob.inputDatasetId: is required");
    check(json!({"model": "absent"}), 404, "accounts/default/models/absent does not exist");
    check(json!({"inputDatasetId": "absent"}), 404, "accounts/default/datasets/absent does not exist");
    check(json!({"inputDatasetId": "training"}), 400, "custom_id and body");
    check(json!({"outputDatasetId": "training"}), 409, "exists already");
    check(
        json!({"outputDatasetId": "accounts/other/datasets/x"}),
        400,
        "is not a dataset of account default",
    );
    check(json!({"priority": 3}), 501, "priority");
    check(json!({"precision": "FP8"}), 501, "precision");
    check(json!({"inferenceParameters": {"n": 0}}), 400, "inferenceParameters");
    check(json!({"inferenceParameters": {"temperature": 9}}), 400, "inferenceParameters");
    check(json!({"inferenceParameters": {"extraBody": "[]"}}), 400, "extraBody must be a JSON object");
    check(json!({"inferenceParameters": {"extraBody": "{\"nonsense\": 1}"}}), 400, "nonsense");
    check(json!({"continuedFromJobName": "accounts/default/batchInferenceJobs/absent"}), 404, "absent");
    // Nothing of them is left: their output can still be made.
    create(&server, "batch", json!({"outputDatasetId": "answers"}));
    assert_eq!(wait(&server, "batch")["state"], "JOB_STATE_COMPLETED");
    let (status, code, _) =
        server.post(&format!("{JOBS}?batchInferenceJobId=batch"), &body(json!({}))).error();
    assert_eq!((status, code), (409, 6));
    assert_eq!(server.get("/v1/accounts/default/datasets/batch-output").status, 404);
}

#[test]
fn nobody_uploads_to_the_output() {
    let server = server(3);
    create(&server, "batch", json!({"outputDatasetId": "answers"}));
    let path = "/v1/accounts/default/datasets/answers:getUploadEndpoint";
    let (status, code, _) = server.post(path, &json!({"filenameToSize": {"a.jsonl": 1}})).error();
    assert_eq!((status, code), (400, 9));
}
