//! `DELETE .../supervisedFineTuningJobs/{job}`.

use serde_json::json;

use super::{JOBS, create, server};

#[test]
fn hidden_at_once() {
    let server = server();
    for _ in 0..3 {
        create(&server, "j");
        assert_eq!(server.delete(&format!("{JOBS}/j")).ok(), json!({}));
        assert_eq!(server.get(&format!("{JOBS}/j")).error().1, 5);
        assert_eq!(server.delete(&format!("{JOBS}/j")).error().1, 5);
        assert_eq!(server.get(JOBS).ok()["supervisedFineTuningJobs"], json!([]));
    }
}
