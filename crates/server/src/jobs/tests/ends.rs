//! Trainers that die, are stopped, or cannot be started.

use super::*;

#[tokio::test]
async fn a_killed_trainer_is_started_again() {
    let script =
        "validated; step 1 0.5; [ $runs = 0 ] && { step 2 1.0; wait_for never; }; wait_for go; finish";
    let mut world = World::new(script).await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until(key, "at step 2", |job| job.progress.step == 2).await;
    world.kill("j1");
    let again =
        world.until(key, "running again", |job| job.state == JobState::Running && job.events_read > 4).await;
    assert_eq!(again.progress.step, 2, "the repeated first step does not take progress back");
    world.go("j1");
    let done = world.until_state(key, JobState::Completed).await;
    assert_eq!(done.progress.percent(), 100);
    assert_eq!(world.history(key).await, "start validate lose start validate write finish");
    world.stop().await;
}

#[tokio::test]
async fn a_trainer_that_always_dies_is_given_up() {
    let mut world = World::new("exit 3").await;
    world.start();
    let key = world.create("j1", 1).await;
    let job = world.until_state(key, JobState::Failed).await;
    assert_eq!(job.status.code.name(), "INTERNAL");
    assert!(job.status.message.contains("6 times in a row"), "{}", job.status.message);
    assert!(job.status.message.contains("ended with exit code 3"), "{}", job.status.message);
    assert_eq!(world.pids("j1").len(), 6);
    world.stop().await;
}

#[tokio::test]
async fn a_trainer_that_cannot_be_started_fails_the_job() {
    let mut world = World::new("").await;
    world.config.trainer = vec!["/nowhere/hearth".into()];
    world.start();
    let key = world.create("j1", 1).await;
    let job = world.until_state(key, JobState::Failed).await;
    assert!(job.status.message.starts_with("starting the trainer failed"), "{}", job.status.message);
    world.stop().await;
}

#[tokio::test]
async fn a_cancelled_job_stops_and_can_go_on() {
    let script = "trap paused TERM; validated; step 1 0.5; wait_for go; finish";
    let mut world = World::new(script).await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until(key, "at step 1", |job| job.progress.step == 1).await;
    world.event(key, JobEvent::Cancel).await;
    world.until_gone("j1").await;
    // The loop is not there when the job goes on, so the trainer's last word is still unread then.
    world.stop().await;
    assert!(world.log("j1").contains("paused"));
    assert_eq!(world.until(key, "anything", |_| true).await.state, JobState::Cancelled);
    world.event(key, JobEvent::Resume).await;
    world.go("j1");
    world.start();
    world.until_state(key, JobState::Completed).await;
    assert_eq!(world.history(key).await, "start validate cancel resume start validate write finish");
    world.stop().await;
}

#[tokio::test]
async fn a_trainer_that_has_said_nothing_keeps_its_place_until_it_is_gone() {
    // The first one says nothing at all and does not stop when it is asked to.
    let script = "[ $runs = 0 ] || { validated; wait_for go; finish; }";
    let mut world = World::new(script).await;
    let trainer = world._dir.path().join("trainer.sh");
    let silent = "[ -e \"$1/silent\" ] || { touch \"$1/silent\"; exec 9>\"$1/lock\"; flock -n 9; trap '' TERM; \
                  while :; do sleep 0.05 9>&-; done; }\n";
    let text = fs::read_to_string(&trainer).unwrap();
    fs::write(&trainer, format!("{silent}runs=1\n{}", text.replace("runs=$(", "seen=$("))).unwrap();
    world.start();
    let key = world.create("j1", 1).await;
    world.until_state(key, JobState::Validating).await;
    let lives = || world.run("j1").is_live().unwrap();
    let end = Instant::now() + PATIENCE;
    while !lives() {
        assert!(Instant::now() < end, "the trainer never takes the lock");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.event(key, JobEvent::Cancel).await;
    world.event(key, JobEvent::Resume).await;
    // It is killed after its grace, and only then the next one starts.
    world.until_state(key, JobState::Running).await;
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    assert_eq!(world.history(key).await, "start cancel resume start validate write finish");
    world.stop().await;
}

#[tokio::test]
async fn a_trainer_stopped_from_outside_pauses_its_job() {
    let mut world = World::new("trap paused TERM; validated; wait_for go; finish").await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until_state(key, JobState::Running).await;
    kill_process(Pid::from_raw(world.pids("j1")[0] as i32).unwrap(), Signal::TERM).unwrap();
    world.until_state(key, JobState::Paused).await;
    world.event(key, JobEvent::Resume).await;
    world.until_state(key, JobState::Running).await;
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    world.stop().await;
}

#[tokio::test]
async fn a_deleted_job_is_stopped_by_force_and_removed() {
    let mut world = World::new("trap '' TERM; validated; wait_for never").await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until_state(key, JobState::Running).await;
    world.event(key, JobEvent::Delete).await;
    // A new job of the same name waits until the old one is gone.
    let mut again = world.store.job_by_key(key).await.unwrap().unwrap().job;
    (again.state, again.events_read) = (JobState::Pending, 0);
    let new = world.store.job_create(&again).await.unwrap().key;
    let end = Instant::now() + PATIENCE;
    while world.store.job_by_key(key).await.unwrap().is_some() {
        assert!(Instant::now() < end, "the deleted job stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let job = world.until_state(new, JobState::Running).await;
    assert_eq!(world.pids("j1").len(), 1, "the new job has a run directory of its own");
    world.event(new, JobEvent::Delete).await;
    while world.run(job.id.as_str()).root().exists() {
        assert!(Instant::now() < end, "the run directory stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn a_trainer_that_cannot_write_fails_its_job_with_the_reason() {
    let mut world = World::new("validated; [ -e \"$dir/go\" ] || exit 74; finish").await;
    world.start();
    let key = world.create("j1", 1).await;
    let job = world.until_state(key, JobState::Failed).await;
    assert_eq!(job.status.code.name(), "RESOURCE_EXHAUSTED");
    assert!(job.status.message.starts_with("the disk is full"), "{}", job.status.message);
    world.go("j1");
    world.event(key, JobEvent::Resume).await;
    world.until_state(key, JobState::Completed).await;
    world.stop().await;
}

#[tokio::test]
async fn a_log_that_a_power_cut_shortened_is_read_on_from_there() {
    // A log that was read to its fifth event, of which one is left; with zeros behind it, or none at all.
    for left in [1, 0] {
        let mut world =
            World::new("validated; step 1 0.5; step 2 1.0; step 3 1.5; wait_for go; finish").await;
        world.start();
        let key = world.create("j1", 1).await;
        world.until(key, "at step 3", |job| job.progress.step == 3).await;
        world.stop().await;
        world.kill("j1");
        world.until_gone("j1").await;
        let path = world.run("j1").events_path();
        let text = fs::read_to_string(&path).unwrap();
        let kept: String = text.lines().take(left).map(|line| format!("{line}\n")).collect();
        fs::write(&path, kept).unwrap();
        world.go("j1");
        world.start();
        world.until_state(key, JobState::Completed).await;
        assert_eq!(world.history(key).await, "start validate lose start validate write finish");
        world.stop().await;
    }
}
