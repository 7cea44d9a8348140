//! `POST .../supervisedFineTuningJobs/{job}:resume`.

use serde_json::json;

use super::{JOBS, create, server};
use crate::server::install_model;

#[test]
fn a_cancelled_job_waits_again() {
    let server = server();
    create(&server, "j");
    let (status, code, message) = server.post(&format!("{JOBS}/j:resume"), &json!({})).error();
    let expect = "a job in state PENDING cannot resume: it goes on by itself";
    assert_eq!((status, code, message.as_str()), (400, 9, expect));
    server.post(&format!("{JOBS}/j:cancel"), &json!({})).ok();
    let job = server.post(&format!("{JOBS}/j:resume"), &json!({})).ok();
    assert_eq!(job["state"], "JOB_STATE_PENDING");
    assert!(job.get("completedTime").is_none());
    // A call that is repeated, for example after a lost answer, gets the job as it is.
    let again = server.post(&format!("{JOBS}/j:resume"), &json!({})).ok();
    assert_eq!((&again["state"], &again["updateTime"]), (&job["state"], &job["updateTime"]));
}

#[test]
fn a_job_whose_output_model_exists_by_now_does_not_go_on() {
    let server = server();
    create(&server, "j");
    server.post(&format!("{JOBS}/j:cancel"), &json!({})).ok();
    install_model(server.dir.path(), "default", "j", Some("tiny"));
    server.get("/v1/accounts/default/models").ok();
    let (status, code, message) = server.post(&format!("{JOBS}/j:resume"), &json!({})).error();
    assert_eq!((status, code), (409, 6), "{message}");
    assert!(message.contains("accounts/default/models/j exists"), "{message}");
}

#[test]
fn a_job_whose_output_model_somebody_else_makes_by_now_does_not_go_on() {
    let server = server();
    let resume = |id: &str| server.post(&format!("{JOBS}/{id}:resume"), &json!({}));
    let refused = |id: &str, part: &str| {
        let (status, code, message) = resume(id).error();
        assert!((status, code) == (409, 6) && message.contains(part), "{status} {code} {message}");
    };
    create(&server, "j");
    server.post(&format!("{JOBS}/j:cancel"), &json!({})).ok();
    let other = json!({"dataset": "rows", "baseModel": "tiny", "outputModel": "j"});
    server.post(&format!("{JOBS}?supervisedFineTuningJobId=other"), &other).ok();
    refused("j", "a job with output model accounts/default/models/j exists already");
    server.delete(&format!("{JOBS}/other")).ok();

    // One that is being uploaded is no less there.
    let upload = json!({"modelId": "j", "model": {"kind": "HF_BASE_MODEL"}});
    server.post("/v1/accounts/default/models", &upload).ok();
    refused("j", "output model accounts/default/models/j exists already");
    server.delete("/v1/accounts/default/models/j").ok();
    resume("j").ok();

    // A paused job is no obstacle to itself.
    server.post(&format!("{JOBS}/j:pause"), &json!({})).ok();
    resume("j").ok();
}
