//! Schedule, table of states and store together, through long histories: users who make, pause, resume, cancel and
//! delete jobs, twice at times; rows that lie elsewhere; accounts that are suspended; trainers that die; servers that die
//! in the middle of what they do and forget, or cannot look at a run; clocks that jump. The same seed gives the same history. After each step the rules are looked at
//! (`check.rs`), and now and then everybody is left alone until all jobs are at their end.
//!
//! `world.rs` has machine, users and clock, `server.rs` what a server does in a round. The canaries are schedulers and
//! servers with one mistake each: every one of them must be caught.

mod check;
mod server;
mod world;

use std::future::Future;

use hearth_domain::schedule::{Action, Limits, Snapshot, schedule};

use crate::server::Mistake;
use crate::world::{World, limits};

/// Steps of each history, and seeds: 100,000 steps in all.
const STEPS: u32 = 50_000;
const SEEDS: [u64; 2] = [1, 2];
/// Steps between two times of being left alone.
const STEPS_TO_REST: u32 = 5_000;
/// Steps in which a mistake must show.
const CANARY_STEPS: u32 = 20_000;

/// What decides; the real one is `domain::schedule`.
pub type Schedule = fn(&Snapshot, &Limits, i64) -> Vec<Action>;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A history; the error says which rule was broken, and when.
async fn history(seed: u64, steps: u32, decide: Schedule, mistake: Mistake) -> Result<World, String> {
    let mut world = World::new(seed, decide, mistake).await;
    for step in 1..=steps {
        let told = |broken| format!("seed {seed}, step {step}: {broken}");
        world.step().await.map_err(told)?;
        if step % STEPS_TO_REST == 0 {
            world.rest().await.map_err(told)?;
        }
    }
    Ok(world)
}

fn keeps_the_rules(seed: u64) {
    let world =
        run(history(seed, STEPS, schedule, Mistake::None)).unwrap_or_else(|broken| panic!("{broken}"));
    // A history in which little happens proves little.
    let seen = world.seen;
    println!("seed {seed}: {seen:?}");
    for (what, count) in seen.counts() {
        assert!(count >= 5, "seed {seed} has {what} only {count} times");
    }
}

#[test]
fn the_first_history_keeps_the_rules() {
    keeps_the_rules(SEEDS[0]);
}

#[test]
fn the_second_history_keeps_the_rules() {
    keeps_the_rules(SEEDS[1]);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let seen = || run(history(3, 1500, schedule, Mistake::None)).unwrap().seen;
    assert_eq!(seen(), seen());
}

/// Fails if no history with this mistake breaks a rule, or if it breaks another one than those it should, which are
/// divided by `|`.
#[track_caller]
fn caught(name: &str, decide: Schedule, mistake: Mistake, expect: &str) {
    let broken = run(history(4, CANARY_STEPS, decide, mistake)).err();
    let broken = broken.unwrap_or_else(|| panic!("{name} was not caught"));
    println!("{name}: {broken}");
    assert!(expect.split('|').any(|expect| broken.contains(expect)), "{name}: {broken}");
}

/// `schedule` under other limits than those that are kept to.
macro_rules! with_limits {
    ($field:ident = $value:expr) => {{
        let decide: Schedule = |snapshot, limits, now_ms| {
            schedule(snapshot, &Limits { $field: $value, ..limits.clone() }, now_ms)
        };
        decide
    }};
}

#[test]
fn schedulers_with_a_mistake_are_caught() {
    assert_eq!(limits().capacity + 1, 5);
    caught("one too many", with_limits!(capacity = 5), Mistake::None, "trainers live|in shared capacity");
    caught("no grace", with_limits!(stop_grace_ms = 0), Mistake::None, "grace");
    caught("memory without end", with_limits!(memory_bytes = u64::MAX / 4), Mistake::None, "memory");
    caught("no reservations", with_limits!(reservations = Vec::new()), Mistake::None, "shared");
    caught("no quota", with_limits!(running_max = Default::default()), Mistake::None, "run for");
    caught("pilots without end", with_limits!(pilots_max = usize::MAX), Mistake::None, "pilot");
    caught("hasty expiry", with_limits!(wait_max_ms = Some(1)), Mistake::None, "expired");
    caught("no end of waiting", with_limits!(wait_max_ms = None), Mistake::None, "never expired");
    caught("large jobs never", with_limits!(patience_ms = i64::MAX), Mistake::None, "starve");
    caught("pilots first of all", with_limits!(pilot_head_start_ms = i64::MAX), Mistake::None, "starve");
}

#[test]
fn schedulers_that_forget_are_caught() {
    let forgets_the_lost: Schedule = |snapshot, limits, now_ms| {
        let actions = schedule(snapshot, limits, now_ms).into_iter();
        actions.filter(|action| !matches!(action, Action::Requeue(_))).collect()
    };
    let never_refuses: Schedule = |snapshot, limits, now_ms| {
        let actions = schedule(snapshot, limits, now_ms).into_iter();
        actions.filter(|action| !matches!(action, Action::Refuse(..))).collect()
    };
    let youngest_first: Schedule = |snapshot, limits, now_ms| {
        let mut turned = snapshot.clone();
        for job in &mut turned.jobs {
            job.create_time_ms = -job.create_time_ms;
        }
        turned.usage.clear();
        schedule(&turned, limits, now_ms)
    };
    let does_not_count: Schedule = |snapshot, limits, now_ms| {
        let mut turned = snapshot.clone();
        for job in &mut turned.jobs {
            job.is_counted = true;
        }
        schedule(&turned, limits, now_ms)
    };
    let never_gives_up: Schedule = |snapshot, limits, now_ms| {
        let mut turned = snapshot.clone();
        for job in &mut turned.jobs {
            job.losses_without_progress = 0;
        }
        schedule(&turned, limits, now_ms)
    };
    let has_the_machine_alone: Schedule = |snapshot, limits, now_ms| {
        schedule(&Snapshot { free_memory_bytes: None, ..snapshot.clone() }, limits, now_ms)
    };
    caught("never gives up", never_gives_up, Mistake::None, "never at rest|starve");
    caught("has the machine alone", has_the_machine_alone, Mistake::None, "machine");
    caught("starts what nobody has counted", does_not_count, Mistake::None, "counted");
    caught("forgets lost trainers", forgets_the_lost, Mistake::None, "never at rest");
    caught("never refuses", never_refuses, Mistake::None, "never");
    caught("youngest first", youngest_first, Mistake::None, "starve");
}

#[test]
fn servers_with_a_mistake_are_caught() {
    caught("starts beside a live trainer", schedule, Mistake::StartsTwice, "twice|alive");
    caught("writes a state without an event", schedule, Mistake::WritesWithoutEvent, "event");
    caught("forgets a row", schedule, Mistake::ForgetsRow, "lost|does not exist");
    caught("answers a repeated call with an error", schedule, Mistake::RefusesRepeats, "repeated");
    caught("takes the unseen for gone", schedule, Mistake::TakesUnseenForGone, "twice|alive");
    caught("lets jobs of a suspended account go on", schedule, Mistake::IgnoresSuspension, "suspended");
}
