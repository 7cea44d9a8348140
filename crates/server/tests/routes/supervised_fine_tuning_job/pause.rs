//! `POST .../supervisedFineTuningJobs/{job}:pause`.

use serde_json::json;

use super::{JOBS, create, server};

#[test]
fn a_paused_job_rests_until_it_is_resumed() {
    let server = server();
    create(&server, "j");
    let paused = server.post(&format!("{JOBS}/j:pause"), &json!({})).ok();
    assert_eq!(paused["state"], "JOB_STATE_PAUSED");
    assert_eq!(paused["status"]["code"], "OK");
    assert!(paused["status"]["message"].as_str().unwrap().contains("resume it"), "{paused}");
    // Not the end of it.
    assert!(paused.get("completedTime").is_none());
    // Once more changes nothing, not even the time of the last change.
    let again = server.post(&format!("{JOBS}/j:pause"), &json!({})).ok();
    assert_eq!((&again["state"], &again["updateTime"]), (&paused["state"], &paused["updateTime"]));

    let resumed = server.post(&format!("{JOBS}/j:resume"), &json!({})).ok();
    assert_eq!(resumed["state"], "JOB_STATE_PENDING");
    assert_eq!(resumed["status"], json!({"code": "OK", "message": ""}));
}

#[test]
fn a_job_at_its_end_cannot_be_paused() {
    let server = server();
    create(&server, "j");
    server.post(&format!("{JOBS}/j:cancel"), &json!({})).ok();
    let (status, code, message) = server.post(&format!("{JOBS}/j:pause"), &json!({})).error();
    assert_eq!((status, code), (400, 9));
    assert_eq!(message, "a job in state CANCELLED cannot pause: it came to its end already");
    assert_eq!(server.post(&format!("{JOBS}/none:pause"), &json!({})).status, 404);
}
