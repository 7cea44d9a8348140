//! What a job goes through when all goes well, and what it says when it does not.

use super::*;

#[tokio::test]
async fn a_job_goes_its_way_and_leaves_a_model() {
    let mut world = World::new(NORMAL).await;
    world.start();
    let key = world.create("j1", 1).await;
    let running = world.until(key, "at step 2", |job| job.progress.step == 2).await;
    assert_eq!(running.state, JobState::Running);
    assert_eq!((running.progress.percent(), running.progress.epoch, running.progress.rows), (50, 1, 5));
    let spec = world.run("j1").job().unwrap();
    assert_eq!(fs::read(&spec.train_files[0]).unwrap(), b"{}\n");
    assert!(spec.base_model_dir.is_absolute() && spec.base_model_dir.join("hearth-model.json").exists());
    assert_eq!((spec.epochs, spec.lora_alpha, spec.batch_size_samples), (2, 16.0, 8));

    world.go("j1");
    let done = world.until_state(key, JobState::Completed).await;
    assert_eq!((done.progress.percent(), done.progress.epoch), (100, 2));
    assert!(done.completed_time_ms.is_some());
    assert_eq!(world.history(key).await, "start validate write finish");
    let model: Model = world.store.model_get(&done.settings.output_model).await.unwrap();
    let ModelKind::Adapter { base_model, r, target_modules, fine_tuning_job } = model.kind else {
        panic!("the output is an adapter");
    };
    assert_eq!((base_model.to_string().as_str(), r), ("accounts/fireworks/models/tiny", 8));
    assert_eq!((target_modules.join(" "), fine_tuning_job), ("qkv_proj o_proj".to_owned(), done.name()));
    let output = installed::read(world.store.data_dir(), &account(), &model.id).unwrap();
    assert_eq!(output.manifest.parameter_count, 6);
    assert_eq!(fs::read(output.dir.join("adapter_model.safetensors")).unwrap(), adapter());
    world.stop().await;
}

#[tokio::test]
async fn a_turbo_job_is_trained_in_integers() {
    let mut world = World::new(NORMAL).await;
    let mut turbo = job("turbo", 1);
    turbo.settings.is_turbo = true;
    world.start();
    for (job, expect) in [(turbo, Precision::Int8), (job("plain", 2), Precision::Bf16)] {
        let key = world.store.job_create(&job).await.unwrap().key;
        world.until(key, "at step 2", |job| job.progress.step == 2).await;
        world.go(job.id.as_str());
        world.until_state(key, JobState::Completed).await;
        assert_eq!(world.run(job.id.as_str()).job().unwrap().precision, expect);
    }
    world.stop().await;
}

/// The samples of four steps, the third twice, as a trainer that was killed does it.
const TELLS_OF_ROWS: &str = r#"
emit '"validated","rows":9,"samples":4,"dropped_too_long":2,"dropped_lines":[3,7],"tokens_per_epoch":50,"trained_tokens_per_epoch":20,"eval_rows":3,"eval_carved_out":3,"eval_dropped":{"count":0,"lines":[]},"total_steps":4'
row_step() { step_of $1 "$2,\"total_samples\":$3"; }
step_of() { emit "\"step\",\"step\":$1,\"total_steps\":4,\"epoch\":$2,\"loss\":1.0,\"learning_rate\":0.001,\"grad_norm\":1.0,\"tokens\":10,\"trained_tokens\":5,\"total_tokens\":3000000000,\"samples\":2,\"tokens_per_second\":10.0,\"seconds_remaining\":1.0,\"rss_bytes\":1"; }
row_step 1 0.5 2; row_step 2 1.0 4; row_step 3 1.5 6; row_step 2 1.0 4; wait_for go; row_step 3 1.5 6; row_step 4 2.0 8; finish
"#;

#[tokio::test]
async fn a_job_tells_of_its_rows_and_its_progress_never_goes_back() {
    let mut world = World::new(TELLS_OF_ROWS).await;
    world.start();
    let key = world.create("j1", 1).await;
    let running = world.until(key, "at step 3", |job| job.progress.step == 3).await;
    let note = "2 of 9 rows are longer than 512 tokens (maxContextLength) and are left out: lines 3, 7; 3 rows are set \
                aside for evaluation";
    assert_eq!((running.status, running.rows_note.as_str()), (Status::default(), note));
    assert_eq!((running.progress.rows, running.progress.samples), (9, 6));
    world.go("j1");
    let done = world.until_state(key, JobState::Completed).await;
    assert_eq!((done.progress.samples, done.progress.tokens), (8, 3_000_000_000));
    assert_eq!(done.rows_note, note);
    world.stop().await;
}

#[tokio::test]
async fn a_run_that_ends_early_makes_its_model() {
    let early = r#"validated; step 1 0.5; step 2 1.0; step 3 1.5
      mkdir -p "$dir/output"
      cp "$WORLD/adapter" "$dir/output/adapter_model.safetensors"
      echo '{"r": 8, "target_modules": ["o_proj"]}' > "$dir/output/adapter_config.json"
      emit '"writing","step":3'
      emit "\"finished\",\"step\":3,\"total_tokens\":30,\"train_loss\":1.0,\"eval_loss\":0.5,\"early_stopped\":true,\"best_step\":1,\"adapter_sha256\":\"$SHA\",\"peak_rss_bytes\":1"
    "#;
    let mut world = World::new(early).await;
    world.start();
    let key = world.create("j1", 1).await;
    let done = world.until_state(key, JobState::EarlyStopped).await;
    assert_eq!((done.progress.step, done.progress.percent(), done.progress.output_step), (3, 75, 1));
    assert!(done.completed_time_ms.is_some());
    assert_eq!(world.history(key).await, "start validate write finish_early");
    world.store.model_get(&done.settings.output_model).await.unwrap();
    let listed = crate::jobs::checkpoint::list(world.store.data_dir(), &done).unwrap();
    let last = listed.last().unwrap();
    assert_eq!((last.id.as_str(), last.step), (crate::jobs::checkpoint::FINAL, 1));
    world.stop().await;
}

#[tokio::test]
async fn a_failure_says_whose_mistake_it_is() {
    for (kind, expect) in [
        ("invalid_data", "INVALID_ARGUMENT"),
        ("invalid_setting", "FAILED_PRECONDITION"),
        ("out_of_resources", "RESOURCE_EXHAUSTED"),
        ("internal", "INTERNAL"),
    ] {
        let script =
            format!(r#"emit '"failed","kind":"{kind}","message":"line 3 has no assistant turn"'; exit 1"#);
        let mut world = World::new(&script).await;
        world.start();
        let key = world.create("j1", 1).await;
        let job = world.until_state(key, JobState::Failed).await;
        assert_eq!(
            (job.status.code.name(), job.status.message.as_str()),
            (expect, "line 3 has no assistant turn")
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn a_job_without_its_dataset_fails_and_can_go_on_when_it_is_back() {
    let mut world = World::new(NORMAL).await;
    let key = world.create("j1", 1).await;
    let dataset = world.dataset();
    let rows =
        world.store.objects().local_path(&ObjectKey::dataset_file(&dataset.name(), "rows.jsonl").unwrap());
    let kept = fs::read(rows.as_ref().unwrap()).unwrap();
    world.store.dataset_delete(&dataset.name()).await.unwrap();
    world.start();
    let job = world.until_state(key, JobState::Failed).await;
    assert_eq!(
        format!("{} {}", job.status.code.name(), job.status.message),
        "FAILED_PRECONDITION reading the dataset failed: dataset accounts/acme/datasets/rows does not exist"
    );
    world.store.dataset_create(&dataset).await.unwrap();
    fs::create_dir_all(rows.as_ref().unwrap().parent().unwrap()).unwrap();
    fs::write(rows.unwrap(), kept).unwrap();
    world.event(key, JobEvent::Resume).await;
    world.until_state(key, JobState::Running).await;
    world.go("j1");
    world.until_state(key, JobState::Completed).await;
    world.stop().await;
}

#[tokio::test]
async fn rows_that_lie_elsewhere_are_fetched_first() {
    let mut world = World::new(NORMAL).await;
    let mut dataset = world.dataset();
    world.store.dataset_delete(&dataset.name()).await.unwrap();
    dataset.files.clear();
    dataset.external_url = "s3://bucket/rows.jsonl".to_owned();
    world.store.dataset_create(&dataset).await.unwrap();
    let key = world.create("j1", 1).await;
    world.start();
    // One that is killed is followed by another, one that the user stops by none until the job goes on.
    for times in 1..=3 {
        world.until_state(key, JobState::CreatingInputDataset).await;
        let end = Instant::now() + PATIENCE;
        while world.pids("j1").len() < times {
            assert!(Instant::now() < end, "nothing fetches for the {times}. time\n{}", world.log("j1"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match times {
            1 => world.kill("j1"),
            2 => {
                world.event(key, JobEvent::Cancel).await;
                world.until_gone("j1").await;
                world.event(key, JobEvent::Resume).await;
            }
            _ => fs::write(world.run("j1").root().join("fetch"), "").unwrap(),
        }
    }
    // Now that they are here, somebody says what the job takes before it trains.
    let waiting = world.until_state(key, JobState::Pending).await;
    assert_eq!(waiting.estimate, JobEstimate::Waiting);
    let estimators = world.estimators();
    let stop = CancellationToken::new();
    let (wake, wake_scheduler) = (Arc::new(Notify::new()), Arc::clone(&world.wake));
    let loops = tokio::spawn(estimate::run(estimators, wake, wake_scheduler, stop.clone()));
    world.go("j1");
    let done = world.until_state(key, JobState::Completed).await;
    stop.cancel();
    loops.await.unwrap();
    assert_eq!(done.estimate.known().map(|estimate| estimate.tokens), Some(1), "{:?}", done.estimate);
    assert_eq!(fs::read_dir(world.store.data_dir().join("estimates")).unwrap().count(), 0);
    let history = world.history(key).await;
    assert_eq!(history, "fetch lose fetch cancel resume fetch fetched start validate write finish");
    let told: serde_json::Value =
        serde_json::from_slice(&fs::read(world.run("j1").root().join("told")).unwrap()).unwrap();
    assert_eq!(
        (&told["parts"][0]["location"]["bucket"], &told["aws"]["kind"]),
        (&"bucket".into(), &"public".into())
    );
    let spec = world.run("j1").job().unwrap();
    assert_eq!(fs::read(&spec.train_files[0]).unwrap(), b"{}\n");
    world.stop().await;
}

/// Events as JSON lines in, what they mean for a job in this state out.
#[test]
fn events_become_moves() {
    let step = r#""step","step":3,"total_steps":4,"epoch":1.9,"loss":1,"learning_rate":1,"grad_norm":1,"tokens":1,
        "trained_tokens":1,"total_tokens":30,"samples":1,"tokens_per_second":1,"seconds_remaining":1,"rss_bytes":1"#;
    let finished = r#""finished","step":4,"total_tokens":40,"train_loss":1,"eval_loss":null,"adapter_sha256":"ab",
        "peak_rss_bytes":1"#;
    let failed = r#""failed","kind":"non_finite","message":"loss is NaN""#;
    let paused = r#""paused","step":3"#;
    let check_from = |unwatched: u64, state: JobState, kinds: &[&str], expect: &str| {
        let mut job = job("j1", 1);
        (job.state, job.events_read) = (state, 1);
        let event = |(index, kind): (usize, &&str)| -> Event {
            serde_json::from_str(&format!(r#"{{"seq":{},"time_ms":1,"type":{kind}}}"#, index + 1)).unwrap()
        };
        // The first event was taken in before.
        let events: Vec<Event> = [failed].iter().chain(kinds).enumerate().map(event).collect();
        let (report, finished) = report::read(&job, &events, unwatched);
        let moves: Vec<&str> = report.events.iter().map(JobEvent::name).collect();
        let got = format!(
            "{} step {} epoch {} read {}{}",
            moves.join(" "),
            report.progress.step,
            report.progress.epoch,
            report.events_read,
            if finished.is_some() { " finished" } else { "" }
        );
        assert_eq!(got.trim_start(), expect, "{state} {kinds:?}");
    };
    let check = |state, kinds: &[&str], expect| check_from(1, state, kinds, expect);
    check(JobState::Validating, &[step], "validate step 3 epoch 1 read 2");
    check(JobState::Running, &[step, failed, step], "fail step 3 epoch 1 read 4");
    check(JobState::Running, &[step, paused], "interrupt step 3 epoch 1 read 3");
    // Nobody was there: the machine shut down, and the job goes on by itself.
    check_from(3, JobState::Running, &[step, paused], "lose step 3 epoch 1 read 3");
    check_from(2, JobState::Running, &[step, paused], "interrupt step 3 epoch 1 read 3");
    check(JobState::Validating, &[finished], "validate write step 0 epoch 0 read 1 finished");
    check(JobState::Cancelled, &[step, paused], "step 0 epoch 0 read 3");
}
