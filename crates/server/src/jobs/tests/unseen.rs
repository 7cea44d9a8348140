//! Run directories that cannot be looked at.

use std::os::unix::fs::symlink;

use super::*;

impl World {
    /// Lets nobody look at a run: its lock cannot be opened, by root neither.
    fn hide(&self, id: &str) {
        let lock = self.run(id).lock_path();
        fs::remove_file(&lock).unwrap();
        symlink("lock", &lock).unwrap();
    }

    /// Runs a job to its end, while others wait.
    async fn run_through(&self, id: &str, create_time_ms: i64) {
        let key = self.create(id, create_time_ms).await;
        self.until(key, "at step 2", |job| job.progress.step == 2).await;
        self.go(id);
        self.until_state(key, JobState::Completed).await;
    }
}

#[tokio::test]
async fn a_new_job_waits_while_nobody_can_look_at_the_run_of_a_deleted_one() {
    let mut world = World::new(NORMAL).await;
    world.start();
    let old = world.create("j1", 1).await;
    world.until(old, "at step 2", |job| job.progress.step == 2).await;
    world.stop().await;
    world.kill("j1");
    world.until_gone("j1").await;
    world.event(old, JobEvent::Delete).await;
    world.hide("j1");
    let new = world.create("j1", 2).await;
    world.start();
    world.run_through("other", 3).await;
    assert_eq!(world.until(new, "anything", |_| true).await.state, JobState::Pending);
    assert!(world.store.job_by_key(old).await.unwrap().is_some(), "the deleted job keeps its directory");

    fs::remove_file(world.run("j1").lock_path()).unwrap();
    world.until(new, "at step 2", |job| job.progress.step == 2).await;
    assert_eq!(world.pids("j1").len(), 1, "the new job has a run directory of its own");
    world.go("j1");
    world.until_state(new, JobState::Completed).await;
    world.stop().await;
}

#[tokio::test]
async fn a_run_that_cannot_be_looked_at_keeps_no_new_server_from_its_work() {
    let mut world = World::new(NORMAL).await;
    world.start();
    world.run_through("j1", 1).await;
    world.stop().await;
    world.hide("j1");
    world.start();
    world.run_through("j2", 2).await;
    world.stop().await;
}
