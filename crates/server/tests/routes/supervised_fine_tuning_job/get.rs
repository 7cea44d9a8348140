//! `GET .../supervisedFineTuningJobs/{job}` and its signed URLs.

use super::{JOBS, create, server};
use crate::snapshot;

#[test]
fn urls_follow_the_run() {
    let server = server();
    create(&server, "j");
    let job = server.get(&format!("{JOBS}/j")).ok();
    let metrics = job["metricsFileSignedUrl"].as_str().unwrap();
    let log = job["trainerLogsSignedUrl"].as_str().unwrap();
    // Before the trainer has begun: empty, and not an error.
    let reply = server.request(&[], "GET", metrics, b"");
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b""[..]));
    let run = server.dir.path().join("runs/default/j");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("metrics.jsonl"), "{\"step\":1}\n").unwrap();
    std::fs::write(run.join("trainer.log"), "hello\n").unwrap();
    assert_eq!(server.request(&[], "GET", metrics, b"").body, b"{\"step\":1}\n");
    assert_eq!(server.request(&[], "GET", log, b"").body, b"hello\n");
    // Signed anew: what is read later opens for longer.
    std::thread::sleep(std::time::Duration::from_millis(5));
    let later = server.get(&format!("{JOBS}/j")).ok();
    for (field, earlier) in [("metricsFileSignedUrl", metrics), ("trainerLogsSignedUrl", log)] {
        assert_ne!(later[field], earlier);
        assert_eq!(server.request(&[], "GET", later[field].as_str().unwrap(), b"").status, 200);
    }
    let altered = log.replace("trainer.log", "job.json");
    assert_eq!(server.request(&[], "GET", &altered, b"").status, 403);
    snapshot!(server.get(&format!("{JOBS}/j?readMask=name,state,jobProgress")));
    snapshot!(server.get(&format!("{JOBS}/none")));
}
