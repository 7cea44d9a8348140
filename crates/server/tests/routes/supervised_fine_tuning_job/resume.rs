//! `POST .../supervisedFineTuningJobs/{job}:resume`.

use serde_json::json;

use super::{JOBS, create, server};

#[test]
fn a_cancelled_job_waits_again() {
    let server = server();
    create(&server, "j");
    let (status, code, message) = server.post(&format!("{JOBS}/j:resume"), &json!({})).error();
    assert_eq!((status, code, message.as_str()), (400, 9, "a job in state PENDING cannot resume"));
    server.post(&format!("{JOBS}/j:cancel"), &json!({})).ok();
    let job = server.post(&format!("{JOBS}/j:resume"), &json!({})).ok();
    assert_eq!(job["state"], "JOB_STATE_PENDING");
    assert!(job.get("completedTime").is_none());
}
