//! A server that was not there, and what it finds.

use super::*;

#[tokio::test]
async fn a_new_server_takes_over_a_live_trainer() {
    let mut world = World::new(NORMAL).await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until(key, "at step 2", |job| job.progress.step == 2).await;
    world.stop().await;
    assert!(world.run("j1").is_live().unwrap(), "the trainer outlives the server");
    world.start();
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    assert_eq!(world.pids("j1").len(), 1);
    assert_eq!(world.history(key).await, "start validate write finish");
    world.stop().await;
}

#[tokio::test]
async fn a_new_server_finds_what_ended_without_it() {
    let mut world = World::new(NORMAL).await;
    world.start();
    let finished = world.create("finished", 1).await;
    world.until(finished, "at step 2", |job| job.progress.step == 2).await;
    world.stop().await;
    world.go("finished");
    world.until_gone("finished").await;
    world.start();
    world.until_state(finished, JobState::Completed).await;

    let killed = world.create("killed", 2).await;
    world.until(killed, "at step 2", |job| job.progress.step == 2).await;
    world.stop().await;
    world.kill("killed");
    world.until_gone("killed").await;
    world.go("killed");
    world.start();
    world.until_state(killed, JobState::Completed).await;
    assert_eq!(world.pids("killed").len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_job_whose_trainer_was_stopped_together_with_the_server_goes_on() {
    let mut world = World::new("trap paused TERM; validated; step 1 0.5; wait_for go; finish").await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until(key, "at step 1", |job| job.progress.step == 1).await;
    world.stop().await;
    let pid = Pid::from_raw(world.pids("j1")[0] as i32).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    world.until_gone("j1").await;
    assert!(world.log("j1").contains("paused"));
    world.go("j1");
    world.start();
    world.until_state(key, JobState::Completed).await;
    assert_eq!(world.history(key).await, "start validate lose start validate write finish");
    world.stop().await;
}

#[tokio::test]
async fn a_new_server_stops_what_was_cancelled_without_it() {
    let mut world = World::new(NORMAL).await;
    world.start();
    let key = world.create("j1", 1).await;
    world.until(key, "at step 2", |job| job.progress.step == 2).await;
    world.stop().await;
    world.event(key, JobEvent::Cancel).await;
    world.start();
    world.until_gone("j1").await;
    assert_eq!(world.until(key, "anything", |_| true).await.state, JobState::Cancelled);
    world.stop().await;
}

#[tokio::test]
async fn an_adapter_that_was_installed_before_a_crash_is_found() {
    let mut world = World::new(NORMAL).await;
    let key = world.create("j1", 1).await;
    world.install("acme", "j1-out", InstalledKind::Adapter, "accounts/acme/supervisedFineTuningJobs/j1");
    world.start();
    world.until_state(key, JobState::Running).await;
    world.go("j1");
    world.until_state(key, JobState::Completed).await;

    let key = world.create("j2", 2).await;
    world.install("acme", "j2-out", InstalledKind::Adapter, "somebody else");
    world.until_state(key, JobState::Running).await;
    world.go("j2");
    let job = world.until_state(key, JobState::Failed).await;
    assert_eq!(job.status.code.name(), "ALREADY_EXISTS");
    world.stop().await;
}

#[tokio::test]
async fn a_job_that_was_stopped_while_its_adapter_was_installed_made_none() {
    let world = World::new(NORMAL).await;
    let key = world.create("j1", 1).await;
    for event in [JobEvent::Start, JobEvent::Validate, JobEvent::Write] {
        world.event(key, event).await;
    }
    let output = world.run("j1").output_path();
    fs::create_dir_all(&output).unwrap();
    fs::write(output.join("adapter_model.safetensors"), adapter()).unwrap();
    fs::write(output.join("adapter_config.json"), r#"{"r": 8, "target_modules": []}"#).unwrap();
    let stored = world.store.job_by_key(key).await.unwrap().unwrap();
    let model = stored.job.settings.output_model.clone();
    let sha256 = hex::encode(Sha256::digest(adapter()));
    let complete = || {
        let (store, stored, run) = (world.store.clone(), stored.clone(), world.run("j1"));
        let finished = report::Finished { adapter_sha256: sha256.clone(), is_early: false };
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || finish::complete(&store, &runtime, &stored, &run, &finished))
    };
    // The user is faster than the scheduler, which has seen the job before.
    world.event(key, JobEvent::Pause).await;
    assert_eq!(complete().await.unwrap().unwrap().state, JobState::Paused);
    let there = installed::read(world.store.data_dir(), &account(), &model.id);
    assert!(matches!(there, Err(StoreError::NotFound { .. })), "{there:?}");
    assert!(world.store.model_get(&model).await.is_err());
    // It can go on, and then it makes its model.
    world.event(key, JobEvent::Resume).await;
    for event in [JobEvent::Start, JobEvent::Validate, JobEvent::Write] {
        world.event(key, event).await;
    }
    assert_eq!(complete().await.unwrap().unwrap().state, JobState::Completed);
    world.store.model_get(&model).await.unwrap();
}
