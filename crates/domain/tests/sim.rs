//! The scheduler and the state table under users who cancel, delete and resume, trainers that die, and servers that
//! forget: random histories, the same again for the same seed, with a canary that must fail.

use std::collections::BTreeMap;

use hearth_domain::schedule::{Action, JobView, Limits, Run, schedule};
use hearth_domain::{AccountId, JobEvent, JobId, JobState, Status, transition};
use proptest::prelude::*;

const LIMITS: Limits = Limits { capacity: 2, stop_grace_ms: 1000 };
/// Steps of every job.
const STEPS: u32 = 3;
/// Rounds after which everything has come to its end when nobody interferes.
const ROUNDS_TO_REST: usize = 400;

type Schedule = fn(&[JobView], Limits, i64) -> Vec<Action>;

/// Something that happens between two rounds.
#[derive(Clone, Debug)]
enum Op {
    /// A user makes a job of this name, if it is free.
    Create(u8),
    Cancel(usize),
    Resume(usize),
    Delete(usize),
    /// A live trainer does its next step, or ends.
    Work(usize),
    /// A trainer dies.
    Crash(usize),
    /// A trainer finds fault with the rows.
    Fail(usize),
    /// The server dies and forgets whom it asked to stop.
    Restart,
    Wait(i64),
    /// The scheduler looks and acts.
    Round,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let job = 0..6usize;
    let op = prop_oneof![
        3 => (0..4u8).prop_map(Op::Create),
        1 => job.clone().prop_map(Op::Cancel),
        1 => job.clone().prop_map(Op::Resume),
        1 => job.clone().prop_map(Op::Delete),
        4 => job.clone().prop_map(Op::Work),
        2 => job.clone().prop_map(Op::Crash),
        1 => job.prop_map(Op::Fail),
        1 => Just(Op::Restart),
        1 => (0..1500i64).prop_map(Op::Wait),
        6 => Just(Op::Round),
    ];
    prop::collection::vec(op, 0..120)
}

struct Sim {
    schedule: Schedule,
    jobs: BTreeMap<i64, Simulated>,
    next_key: i64,
    now_ms: i64,
}

struct Simulated {
    view: JobView,
    step: u32,
}

impl Sim {
    fn new(schedule: Schedule) -> Self {
        Self { schedule, jobs: BTreeMap::new(), next_key: 1, now_ms: 0 }
    }

    fn nth(&mut self, index: usize) -> Option<&mut Simulated> {
        let count = self.jobs.len();
        self.jobs.values_mut().nth(index.checked_rem(count)?)
    }

    /// What a user asks for and the table refuses does not happen.
    fn user(&mut self, index: usize, event: JobEvent) {
        let Some(job) = self.nth(index) else { return };
        if let Ok(next) = transition(job.view.state, &event) {
            job.view.state = next;
            if event == JobEvent::Resume {
                job.view.losses_without_progress = 0;
            }
        }
    }

    fn create(&mut self, name: u8) {
        let id = JobId::new(format!("job-{name}")).unwrap();
        if self.jobs.values().any(|job| job.view.id == id && job.view.state != JobState::Deleting) {
            return;
        }
        let view = JobView {
            key: self.next_key,
            account: AccountId::new("acme").unwrap(),
            id,
            state: JobState::Pending,
            create_time_ms: self.now_ms,
            losses_without_progress: 0,
            run: Run::Gone,
        };
        self.jobs.insert(self.next_key, Simulated { view, step: 0 });
        self.next_key += 1;
    }

    /// A live trainer that was not asked to stop goes on: validate, steps, write, finish. One that was asked stops.
    fn work(job: &mut Simulated) -> Result<(), String> {
        let view = &mut job.view;
        match (view.run, view.state) {
            (Run::Gone, _) => return Ok(()),
            (Run::Stopping { .. }, _) => view.run = Run::Gone,
            (Run::Live, JobState::Running) if job.step < STEPS => {
                job.step += 1;
                view.losses_without_progress = 0;
            }
            (Run::Live, state) => {
                let event = match state {
                    JobState::Validating => JobEvent::Validate,
                    JobState::Running => JobEvent::Write,
                    JobState::WritingResults => JobEvent::Finish,
                    // The job was cancelled or deleted and the trainer has not heard of it yet.
                    _ => return Ok(()),
                };
                view.state = transition(state, &event).map_err(|error| error.to_string())?;
                if event == JobEvent::Finish {
                    view.run = Run::Gone;
                }
            }
        }
        Ok(())
    }

    fn op(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Create(name) => self.create(*name),
            Op::Cancel(index) => self.user(*index, JobEvent::Cancel),
            Op::Resume(index) => self.user(*index, JobEvent::Resume),
            Op::Delete(index) => self.user(*index, JobEvent::Delete),
            Op::Work(index) => {
                if let Some(job) = self.nth(*index) {
                    Self::work(job)?;
                }
            }
            Op::Crash(index) => {
                if let Some(job) = self.nth(*index) {
                    job.view.run = Run::Gone;
                }
            }
            Op::Fail(index) => {
                if let Some(job) = self.nth(*index)
                    && job.view.run == Run::Live
                    && job.view.state.is_active()
                {
                    let event = JobEvent::Fail(Status::default());
                    job.view.state = transition(job.view.state, &event).map_err(|error| error.to_string())?;
                    job.view.run = Run::Gone;
                }
            }
            Op::Restart => {
                for job in self.jobs.values_mut().filter(|job| job.view.run != Run::Gone) {
                    job.view.run = Run::Live;
                }
            }
            Op::Wait(ms) => self.now_ms += ms,
            Op::Round => self.round()?,
        }
        self.check()
    }

    fn views(&self) -> Vec<JobView> {
        self.jobs.values().map(|job| job.view.clone()).collect()
    }

    fn round(&mut self) -> Result<(), String> {
        let before = self.views();
        let actions = (self.schedule)(&before, LIMITS, self.now_ms);
        for &action in &actions {
            self.act(action, &before)?;
            self.check()?;
        }
        let again = (self.schedule)(&self.views(), LIMITS, self.now_ms);
        match again.iter().find(|action| actions.contains(action)) {
            Some(repeated) => Err(format!("{repeated:?} again, though it was done")),
            None => Ok(()),
        }
    }

    /// Carries an action out, if it is right. `before` is what the scheduler saw.
    fn act(&mut self, action: Action, before: &[JobView]) -> Result<(), String> {
        let now_ms = self.now_ms;
        let wrong = |why: &str| Err(format!("{action:?}: {why}"));
        let (Action::Start(key)
        | Action::Requeue(key)
        | Action::GiveUp(key)
        | Action::Stop(key)
        | Action::Kill(key)
        | Action::Remove(key)) = action;
        if let Action::Start(_) = action {
            let views = self.views();
            let new = &self.jobs[&key].view;
            let is_blocked = |view: &JobView, views: &[JobView]| {
                views.iter().any(|other| {
                    other.key != view.key && other.id == view.id && other.state == JobState::Deleting
                })
            };
            if is_blocked(new, &views) {
                return wrong("the run directory belongs to a deleted job");
            }
            let is_older = |view: &&JobView| {
                view.state.is_waiting()
                    && view.run == Run::Gone
                    && (view.create_time_ms, view.key) < (new.create_time_ms, new.key)
                    && !is_blocked(view, before)
            };
            let busy = views.iter().filter(|view| view.run != Run::Gone).count();
            if busy + views.iter().filter(is_older).count() >= LIMITS.capacity {
                return wrong("it takes the place of an older job");
            }
        }
        let Some(job) = self.jobs.get_mut(&key) else { return wrong("there is no such job") };
        let view = &mut job.view;
        let event = match action {
            Action::Start(_) if view.run != Run::Gone => return wrong("it runs already"),
            Action::Start(_) => {
                view.run = Run::Live;
                JobEvent::Start
            }
            Action::Requeue(_) => {
                view.losses_without_progress += 1;
                JobEvent::Lose
            }
            Action::GiveUp(_) => JobEvent::Fail(Status::default()),
            Action::Stop(_) if view.state.is_active() => return wrong("nobody asked for it"),
            Action::Stop(_) => {
                view.run = Run::Stopping { since_ms: now_ms };
                return Ok(());
            }
            Action::Kill(_) => {
                let Run::Stopping { since_ms } = view.run else { return wrong("it was not asked to stop") };
                if now_ms - since_ms < LIMITS.stop_grace_ms {
                    return wrong("its grace is not over");
                }
                view.run = Run::Gone;
                return Ok(());
            }
            Action::Remove(_) => {
                if view.run != Run::Gone || view.state != JobState::Deleting {
                    return wrong("it is alive or not deleted");
                }
                self.jobs.remove(&key);
                return Ok(());
            }
        };
        view.state = transition(view.state, &event).map_err(|error| format!("{action:?}: {error}"))?;
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let live = self.jobs.values().filter(|job| job.view.run != Run::Gone).count();
        if live > LIMITS.capacity {
            return Err(format!("{live} trainers live at once"));
        }
        Ok(())
    }

    /// With trainers that work and nobody who interferes, every job comes to its end and deleted ones vanish.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_TO_REST {
            self.now_ms += 100;
            self.round()?;
            for job in self.jobs.values_mut() {
                Self::work(job)?;
            }
        }
        match self.jobs.values().find(|job| !job.view.state.is_final() || job.view.run != Run::Gone) {
            Some(job) => Err(format!("never at rest: {:?}", job.view)),
            None => Ok(()),
        }
    }
}

fn history(schedule: Schedule, ops: &[Op]) -> Result<(), String> {
    let mut sim = Sim::new(schedule);
    for op in ops {
        sim.op(op)?;
    }
    sim.settle()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_history_keeps_the_rules(ops in ops()) {
        if let Err(broken) = history(schedule, &ops) {
            prop_assert!(false, "{}", broken);
        }
    }
}

/// Schedulers with one mistake each: the simulation must catch every one of them.
#[test]
fn canaries_are_caught() {
    let too_many: Schedule =
        |jobs, limits, now_ms| schedule(jobs, Limits { capacity: limits.capacity + 1, ..limits }, now_ms);
    let hasty: Schedule =
        |jobs, limits, now_ms| schedule(jobs, Limits { stop_grace_ms: 0, ..limits }, now_ms);
    let youngest_first: Schedule = |jobs, limits, now_ms| {
        let mut turned = jobs.to_vec();
        turned.iter_mut().for_each(|job| job.create_time_ms = -job.create_time_ms);
        schedule(&turned, limits, now_ms)
    };
    let forgets_the_lost: Schedule = |jobs, limits, now_ms| {
        schedule(jobs, limits, now_ms)
            .into_iter()
            .filter(|action| !matches!(action, Action::Requeue(_)))
            .collect()
    };
    let blind_to_names: Schedule = |jobs, limits, now_ms| {
        let mut renamed = jobs.to_vec();
        renamed.iter_mut().for_each(|job| job.id = JobId::new(format!("key-{}", job.key)).unwrap());
        schedule(&renamed, limits, now_ms)
    };
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let histories: Vec<Vec<Op>> = (0..2000)
        .map(|_| proptest::strategy::ValueTree::current(&ops().new_tree(&mut runner).unwrap()))
        .collect();
    for (name, canary) in [
        ("too many at once", too_many),
        ("kills without grace", hasty),
        ("youngest first", youngest_first),
        ("forgets lost trainers", forgets_the_lost),
        ("starts in a run directory that is not removed", blind_to_names),
    ] {
        assert!(histories.iter().any(|ops| history(canary, ops).is_err()), "{name} was not caught");
    }
}
