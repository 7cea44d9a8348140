//! Who starts, with what, and who has waited too long.

use super::*;

#[tokio::test]
async fn one_job_runs_at_a_time_and_the_oldest_first() {
    let mut world = World::new(NORMAL).await;
    let younger = world.create("younger", 2).await;
    let older = world.create("older", 1).await;
    world.start();
    world.until(older, "at step 2", |job| job.progress.step == 2).await;
    let waiting = world.until(younger, "anything", |_| true).await;
    assert_eq!(waiting.state, JobState::Pending);
    world.go("older");
    world.until(younger, "at step 2", |job| job.progress.step == 2).await;
    world.until_state(older, JobState::Completed).await;
    world.go("younger");
    world.until_state(younger, JobState::Completed).await;
    world.stop().await;
}

#[tokio::test]
async fn a_trainer_hears_its_share() {
    let mut world = World::new(r#"echo "$*" > "$dir/arguments"; validated; wait_for go; finish"#).await;
    world.config.limits.memory_bytes = 1000;
    world.config.limits.threads = 6;
    world.config.limits.capacity = 2;
    world.config.free_memory = || Some(500);
    world.start();
    let key = world.create("j1", 1).await;
    let running = world.until_state(key, JobState::Running).await;
    let arguments = fs::read_to_string(world.run("j1").root().join("arguments")).unwrap();
    let (_, arguments) = arguments.trim().split_once(' ').unwrap();
    // An even part of the limit, but no more than 80 % of what is free.
    assert_eq!(arguments, "--threads=3 --memory-limit=400");
    assert_eq!((running.share.memory_bytes, running.share.threads), (500, 3));
    // So does who says how long it will take.
    let counted = world.estimators().count(&running, 0).await.unwrap();
    assert_eq!(counted.total_steps, 4);
    let asked = fs::read_to_string(world.store.data_dir().join("asked")).unwrap();
    assert!(asked.trim().ends_with(" --threads=3"), "{asked}");
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    world.stop().await;
}

#[tokio::test]
async fn a_job_that_can_never_fit_fails_and_one_that_waits_too_long_expires() {
    let mut world = World::new(NORMAL).await;
    world.config.limits.memory_bytes = 1 << 30;
    let mut large = job("large", 1);
    large.estimate = JobEstimate::Known(Estimate {
        tokens: 1,
        cost: TrainingPrices::default().of(1, 1),
        memory_bytes_low: 4 << 30,
        memory_bytes_high: 5 << 30,
        least_memory_bytes: 3 << 30,
        seconds_low: 1.0,
        seconds_high: 2.0,
    });
    let large = world.store.job_create(&large).await.unwrap().key;
    world.start();
    let failed = world.until_state(large, JobState::Failed).await;
    assert_eq!(failed.status.code.name(), "RESOURCE_EXHAUSTED");
    assert!(failed.status.message.contains("at least 3072 MiB of memory and could get 1024"), "{failed:?}");
    world.stop().await;

    // Made long ago, and nothing may run.
    world.config.limits.capacity = 0;
    world.config.limits.wait_max_ms = Some(WAIT_MAX_MS);
    world.start();
    let key = world.create("j1", 1).await;
    let expired = world.until_state(key, JobState::Expired).await;
    assert!(expired.status.message.contains("waited 720 hours"), "{expired:?}");
    assert!(expired.completed_time_ms.is_some());
    world.stop().await;
    world.config.limits.capacity = 1;
    world.start();
    world.event(key, JobEvent::Resume).await;
    world.until_state(key, JobState::Running).await;
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    assert_eq!(world.history(key).await, "expire resume start validate write finish");
    world.stop().await;
}

#[tokio::test]
async fn why_a_job_cannot_be_counted_is_in_the_log() {
    let told = |script: &'static str| async move {
        let mut world = World::new("").await;
        let path = world.store.data_dir().join("fails.sh");
        fs::write(&path, script).unwrap();
        world.config.trainer = vec!["/bin/sh".into(), path.into()];
        let estimators = Estimators::new(&world.store, &world.config, TrainingPrices::default()).unwrap();
        let run = world.store.data_dir().join("run");
        fs::create_dir(&run).unwrap();
        estimators.ask(&run, 0).await.unwrap_err().to_string()
    };
    let why = told("echo 'cannot open libm.so' >&2; exit 3").await;
    assert_eq!(why, r#"the process ended with exit status: 3 and no reply: "cannot open libm.so\n""#);
    // A panic says where; what it says besides may be of a row.
    let why =
        told("printf \"thread 'main' panicked at rows.rs:5:1:\nin 'a secret row'\n\" >&2; exit 101").await;
    assert!(why.ends_with(r#""thread 'main' panicked at rows.rs:5:1:""#), "{why}");
    let why = told("head -c 9000 /dev/zero | tr '\\0' x >&2; exit 1").await;
    assert!((4000..5000).contains(&why.len()), "{}", why.len());
}
