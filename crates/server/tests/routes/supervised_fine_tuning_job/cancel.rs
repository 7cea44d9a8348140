//! `POST .../supervisedFineTuningJobs/{job}:cancel`.

use serde_json::json;

use super::{JOBS, create, server};

#[test]
fn the_record_stays() {
    let server = server();
    create(&server, "j");
    assert_eq!(server.post(&format!("{JOBS}/j:cancel"), &json!({})).ok(), json!({}));
    let job = server.get(&format!("{JOBS}/j")).ok();
    assert_eq!(job["state"], "JOB_STATE_CANCELLED");
    assert!(job["completedTime"].is_string());
    // Once more changes nothing.
    assert_eq!(server.post(&format!("{JOBS}/j:cancel"), &json!({})).ok(), json!({}));
    assert_eq!(server.post(&format!("{JOBS}/none:cancel"), &json!({})).status, 404);
}
