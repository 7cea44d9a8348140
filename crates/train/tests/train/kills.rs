//! Trainers that are stopped or killed at random moments give the adapter of an undisturbed one.
//!
//! The trainer runs in a child process: this test executable again, with the ignored test [`child`], which
//! reads the run directory and perhaps a limit of memory from standard input.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use hearth_run::{EXIT_PAUSED, EventKind, EventTail, JobSpec, RunDir};
use hearth_train::{TrainOptions, run};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::fixture::{Fixture, go, metrics, row};

#[test]
#[ignore = "the child process of the tests in this file"]
fn child() {
    let lines: Vec<String> = std::io::stdin().lines().map(Result::unwrap).collect();
    let memory_limit_bytes = lines.get(1).map(|limit| limit.parse().unwrap());
    std::process::exit(run(lines[0].as_ref(), TrainOptions { memory_limit_bytes, ..Default::default() }));
}

pub fn spawn(dir: &RunDir, memory_limit_bytes: Option<u64>) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", dir.root().display()).unwrap();
    if let Some(limit) = memory_limit_bytes {
        writeln!(stdin, "{limit}").unwrap();
    }
    child
}

/// Waits until `events` more steps are done, or the child has ended by itself.
pub fn wait_for_steps(child: &mut Child, tail: &mut EventTail, steps: u32) -> Option<ExitStatus> {
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
            let mut child = spawn(&dir, None);
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
        let mut child = spawn(&dir, None);
        assert_eq!(wait_for_steps(&mut child, &mut tail, 5), None);
        terminate(&child);
        assert_eq!(child.wait().unwrap().code(), Some(EXIT_PAUSED));
        let events = tail.poll().unwrap();
        let [.., checkpoint, paused] = events.as_slice() else { panic!("{events:?}") };
        let EventKind::Paused { step: paused } = paused.kind else { panic!("{paused:?}") };
        assert!(matches!(checkpoint.kind, EventKind::Checkpoint { step, .. } if step == paused));
    }
    assert_eq!(go(&dir).output(), undisturbed);
}

fn terminate(child: &Child) {
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

/// The rows come from a pipe and never end, so a trainer that read all of them before it looked would not end either.
#[test]
fn sigterm_while_rows_are_read_is_obeyed() {
    let fixture = Fixture::new();
    let pipe = fixture.path("rows.jsonl");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let dir = fixture.run_dir("run", &JobSpec { train_files: vec![pipe.clone()], ..fixture.job() });
    let mut child = spawn(&dir, None);
    let mut rows = OpenOptions::new().write(true).open(&pipe).unwrap();
    writeln!(rows, "{}", row(0)).unwrap();
    terminate(&child);
    while writeln!(rows, "{}", row(1)).is_ok() {}
    assert_eq!(child.wait().unwrap().code(), Some(EXIT_PAUSED));
    let events = EventTail::new(&dir).poll().unwrap();
    let [started, paused] = events.as_slice() else { panic!("{events:?}") };
    assert!(matches!(started.kind, EventKind::Started { .. }), "{started:?}");
    assert_eq!(paused.kind, EventKind::Paused { step: 0 });

    // Rows that end are trained on by the next trainer.
    std::fs::remove_file(&pipe).unwrap();
    std::fs::copy(fixture.path("train.jsonl"), &pipe).unwrap();
    go(&dir).output();
}

/// A template that doubles a string without end meets the limit, and not that of the machine.
#[test]
fn a_template_that_asks_for_all_memory_ends_its_trainer_alone() {
    let fixture = Fixture::new();
    let template = "{% set n = namespace(x='hearth--') %}{% for i in range(45) %}{% set n.x = n.x ~ n.x %}{% endfor %}\
                    {{ n.x }}";
    let job = JobSpec { chat_template: Some(template.to_owned()), ..fixture.job() };
    let dir = fixture.run_dir("run", &job);
    let ended = spawn(&dir, Some(512 << 20)).wait().unwrap();
    assert_eq!(ended.signal(), Some(6), "{ended:?}");
}
