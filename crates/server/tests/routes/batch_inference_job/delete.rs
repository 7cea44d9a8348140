//! Deleting a job.

use serde_json::json;

use super::{JOBS, create, server, wait};

#[test]
fn a_deleted_job_is_gone_with_all_but_a_finished_output() {
    let server = server(3);
    create(&server, "done", json!({}));
    wait(&server, "done");
    create(&server, "waits", json!({}));
    for id in ["done", "waits"] {
        server.delete(&format!("{JOBS}/{id}")).ok();
        assert_eq!(server.get(&format!("{JOBS}/{id}")).status, 404);
        assert_eq!(server.delete(&format!("{JOBS}/{id}")).status, 404);
    }
    assert_eq!(server.get("/v1/accounts/default/datasets/done-output").ok()["state"], "READY");
    // The name is free again at once, and the new job is not disturbed by what the old one left.
    create(&server, "again", json!({}));
    server.delete(&format!("{JOBS}/again")).ok();
    create(&server, "again", json!({"outputDatasetId": "other"}));
    assert_eq!(wait(&server, "again")["state"], "JOB_STATE_COMPLETED");
}
