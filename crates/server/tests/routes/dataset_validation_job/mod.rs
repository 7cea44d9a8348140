//! Checks of datasets in the background.

mod create;
mod get;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::Server;

/// Where they are.
pub const JOBS: &str = "/v1/accounts/default/datasetValidationJobs";
/// Longest wait for a check of a few rows.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a check has come to its end.
pub fn wait(server: &Server, name: &str) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let job = server.get(&format!("/v1/{name}")).ok();
        if ["JOB_STATE_COMPLETED", "JOB_STATE_FAILED"].contains(&job["state"].as_str().unwrap()) {
            return job;
        }
        assert!(Instant::now() < end, "the check never ends: {job}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
