//! `GET /v1/accounts/{account}/datasetValidationJobs/{job}`.

use serde_json::json;

use super::{JOBS, wait};
use crate::server::Server;

#[test]
fn reads_or_says_what_is_missing() {
    let server = Server::start();
    server.ready_dataset("rows");
    let body = json!({"datasetName": "rows", "format": "DATASET_VALIDATION_FORMAT_CHAT"});
    server.post(&format!("{JOBS}?datasetValidationJobId=j"), &body).ok();
    wait(&server, "accounts/default/datasetValidationJobs/j");
    let masked = server.get(&format!("{JOBS}/j?readMask=state,result")).ok();
    let expect = json!({"state": "JOB_STATE_COMPLETED", "result": "DATASET_VALIDATION_JOB_RESULT_SUCCESS"});
    assert_eq!(masked, expect);
    assert_eq!(server.get(&format!("{JOBS}/j?readMask=nothing")).error().1, 3);
    assert_eq!(server.get(&format!("{JOBS}/gone")).error().1, 5);
    assert_eq!(server.get(&format!("{JOBS}/UPPER")).error().1, 3);
}
