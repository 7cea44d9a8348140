//! Trainers that are there and do nothing, and who is signalled.

use super::*;

#[test]
fn nobody_else_is_signalled() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let mut stranger = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
    let started =
        format!(r#"{{"seq":1,"time_ms":1,"type":"started","pid":{},"resumed_from_step":0}}"#, stranger.id());
    fs::write(run.events_path(), started + "\n").unwrap();
    let mut attempt = Attempt::new(run.clone(), PATIENCE);
    attempt.poll().unwrap();
    assert!(!attempt.stop(), "nobody holds the lock");
    let lock = run.lock().unwrap();
    assert!(attempt.is_live().unwrap());
    assert!(!attempt.stop(), "the process was not started on the run directory");
    attempt.kill();
    drop(lock);
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// Stops the trainer of a job, so that it does nothing any more but is there.
fn freeze(world: &World, id: &str) -> Pid {
    let pid = Pid::from_raw(*world.pids(id).last().expect("a trainer has started") as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    pid
}

/// A heart that beats while the trainer is not stopped.
const BEATING: &str = r#"beats() { n=0; while [ ! -e "$dir/still" ] && kill -0 $$; do
n=$((n + 1)); touch -d "@$n" "$dir/heartbeat"; sleep 0.02; done; }
beats 9>&- & "#;

#[tokio::test]
async fn a_stopped_trainer_is_lost_and_the_job_goes_on() {
    for with_new_server in [false, true] {
        let script = format!(
            "{BEATING} [ $runs = 0 ] && {{ validated; step 1 0.5; wait_for never; }}; validated; wait_for go; finish"
        );
        let mut world = World::new(&script).await;
        world.config.silence_max = Duration::from_millis(400);
        world.start();
        let key = world.create("j1", 1).await;
        world.until(key, "at step 1", |job| job.progress.step == 1).await;
        // One that takes long over its step is left alone.
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert_eq!(world.history(key).await, "start validate");

        if with_new_server {
            world.stop().await;
        }
        let pid = freeze(&world, "j1");
        // What beats is a process of its own in these scripts.
        fs::write(world.run("j1").root().join("still"), "").unwrap();
        if with_new_server {
            world.start();
        }
        world.until(key, "lost", |job| job.losses_without_progress == 1).await;
        // Dead, or dead and not waited for: the "new server" is in the process of the old one.
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        fs::remove_file(world.run("j1").root().join("still")).unwrap();
        world.go("j1");
        world.until_state(key, JobState::Completed).await;
        assert_eq!(world.history(key).await, "start validate lose start validate write finish");
        assert!(world.log("j1").contains("gave no sign of life for 0 seconds"), "{}", world.log("j1"));
        world.stop().await;
    }
}

/// Of a trainer that has not said its process id, the system knows who holds the lock.
#[test]
fn a_trainer_that_was_stopped_before_its_first_word_is_found_by_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    run.expect_heartbeat().unwrap();
    let mut trainer = Command::new("flock")
        .args([OsStr::new("--no-fork"), run.lock_path().as_os_str()])
        .args(["sh", "-c", "echo held; kill -STOP $$"])
        .arg(run.root())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 5];
    trainer.stdout.take().unwrap().read_exact(&mut word).unwrap();
    let mut attempt = Attempt::new(run, Duration::from_millis(50));
    let end = Instant::now() + PATIENCE;
    while attempt.is_live().unwrap() {
        assert!(Instant::now() < end, "the stopped trainer is not killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(trainer.wait().unwrap().signal(), Some(9));
    assert!(attempt.last_exit().unwrap().starts_with("gave no sign of life"));
}
