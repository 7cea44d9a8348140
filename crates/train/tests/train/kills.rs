//! Trainers that are stopped or killed at random moments give the adapter of an undisturbed one.
//!
//! The trainer runs in a child process: this test executable again, with the ignored test [`child`], which
//! reads the run directory from standard input.

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use hearth_run::{EXIT_PAUSED, EventKind, EventTail, JobSpec, RunDir};
use hearth_train::{TrainOptions, run};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::fixture::{Fixture, go, metrics};

#[test]
#[ignore = "the child process of the tests in this file"]
fn child() {
    let mut dir = String::new();
    std::io::stdin().read_line(&mut dir).unwrap();
    std::process::exit(run(dir.trim().as_ref(), TrainOptions::default()));
}

fn spawn(dir: &RunDir) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", dir.root().display()).unwrap();
    child
}

/// Waits until `events` more steps are done, or the child has ended by itself.
fn wait_for_steps(child: &mut Child, tail: &mut EventTail, steps: u32) -> Option<ExitStatus> {
    let mut seen = 0;
    while seen < steps {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        let events = tail.poll().unwrap();
        seen += events.iter().filter(|event| matches!(event.kind, EventKind::Step { .. })).count() as u32;
        sleep(Duration::from_micros(500));
    }
    None
}

#[test]
fn killed_at_random_moments_twenty_of_twenty_are_equal() {
    let fixture = Fixture::new();
    let job = fixture.job();
    let undisturbed = fixture.run("undisturbed", &job);
    let (output, losses) = (undisturbed.output(), undisturbed.losses());
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let mut kills = 0;
    for round in 0..20 {
        let dir = fixture.run_dir(&format!("run{round}"), &job);
        let mut tail = EventTail::new(&dir);
        for threads in 1..=3 {
            dir.create(&JobSpec { threads, ..job.clone() }).unwrap();
            let mut child = spawn(&dir);
            let ended = wait_for_steps(&mut child, &mut tail, rng.next_u32() % 12);
            sleep(Duration::from_micros(u64::from(rng.next_u32() % 20_000)));
            if ended.is_none() {
                child.kill().unwrap();
            }
            kills += u32::from(!child.wait().unwrap().success());
        }
        let ended = go(&dir);
        assert_eq!(ended.output(), output, "round {round}");
        assert_eq!(ended.losses(), losses, "round {round}");
        let warned = ended.events.iter().find(|event| matches!(event.kind, EventKind::Warning { .. }));
        assert_eq!(warned, None, "round {round}");
        assert_eq!(metrics(&dir, "train/loss"), losses, "round {round}");
        assert_eq!(metrics(&dir, "eval/loss"), metrics(&undisturbed.dir, "eval/loss"), "round {round}");
    }
    assert!(kills >= 20, "only {kills} trainers were killed before their end");
}

#[test]
fn sigterm_pauses_and_the_next_trainer_goes_on() {
    let fixture = Fixture::new();
    // No checkpoints but those of the signal, and too many steps to be done before it comes.
    let job = JobSpec { epochs: 40, checkpoint_interval_steps: 0, eval_interval_steps: 0, ..fixture.job() };
    let undisturbed = fixture.run("undisturbed", &job).output();
    let dir = fixture.run_dir("run", &job);
    let mut tail = EventTail::new(&dir);
    for _ in 0..3 {
        let mut child = spawn(&dir);
        assert_eq!(wait_for_steps(&mut child, &mut tail, 5), None);
        let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert_eq!(child.wait().unwrap().code(), Some(EXIT_PAUSED));
        let events = tail.poll().unwrap();
        let [.., checkpoint, paused] = events.as_slice() else { panic!("{events:?}") };
        let EventKind::Paused { step: paused } = paused.kind else { panic!("{paused:?}") };
        assert!(matches!(checkpoint.kind, EventKind::Checkpoint { step, .. } if step == paused));
    }
    assert_eq!(go(&dir).output(), undisturbed);
}
