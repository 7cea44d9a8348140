//! `GET .../supervisedFineTuningJobs`.

use super::{JOBS, create, server};
use crate::snapshot;

#[test]
fn own_jobs_in_order() {
    let server = server();
    snapshot!(server.get(JOBS));
    for id in ["b", "a"] {
        create(&server, id);
    }
    snapshot!(
        server.get(&format!("{JOBS}?readMask=name,state&pageSize=1&orderBy=create_time%20desc")).hide_token()
    );
    let names = server.get(&format!("{JOBS}?orderBy=create_time")).ok();
    assert!(names["supervisedFineTuningJobs"][0]["name"].as_str().unwrap().ends_with("/b"));
}
