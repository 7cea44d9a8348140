//! Small scenes.

use super::*;
use crate::id::JobId;

const MIB: u64 = 1 << 20;
const HOUR_MS: i64 = 3600 * 1000;

/// A job that waits since it was made. Its key is its age too, unless the scene says otherwise.
fn job(key: i64, account: &str) -> JobView {
    JobView {
        key,
        account: AccountId::new(account).unwrap(),
        id: JobId::new(format!("j{key}")).unwrap(),
        state: JobState::Pending,
        create_time_ms: key,
        waiting_since_ms: key,
        active_since_ms: None,
        is_pilot: false,
        reservation: None,
        is_counted: true,
        memory_bytes: 100 * MIB,
        share: Share::default(),
        losses_without_progress: 0,
        run: Run::Gone,
    }
}

fn running(key: i64, account: &str) -> JobView {
    let share = Share { is_reserved: false, memory_bytes: 100 * MIB, threads: 1 };
    JobView {
        state: JobState::Running,
        active_since_ms: Some(key),
        share,
        run: Run::Live,
        ..job(key, account)
    }
}

fn limits() -> Limits {
    Limits { capacity: 4, memory_bytes: 1000 * MIB, threads: 8, ..Limits::default() }
}

fn reservation(trainers: usize, memory_bytes: u64) -> Reservation {
    Reservation { account: AccountId::new("acme").unwrap(), id: "night".into(), trainers, memory_bytes }
}

/// What the scene calls for, by name and key, in order.
fn check_at(now_ms: i64, jobs: Vec<JobView>, limits: &Limits, expect: &str) {
    let snapshot = Snapshot { jobs, ..Snapshot::default() };
    assert_eq!(shown(&schedule(&snapshot, limits, now_ms)), expect);
}

fn check(jobs: Vec<JobView>, limits: &Limits, expect: &str) {
    check_at(1000, jobs, limits, expect);
}

fn shown(actions: &[Action]) -> String {
    let name = |action: &Action| match action {
        Action::Start(key, Share { is_reserved: true, .. }) => format!("reserved {key}"),
        Action::Start(key, _) => format!("start {key}"),
        Action::Refuse(key, _) => format!("refuse {key}"),
        Action::Expire(key) => format!("expire {key}"),
        Action::Requeue(key) => format!("requeue {key}"),
        Action::GiveUp(key) => format!("give up {key}"),
        Action::Stop(key) => format!("stop {key}"),
        Action::Kill(key) => format!("kill {key}"),
        Action::Remove(key) => format!("remove {key}"),
    };
    actions.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_oldest_goes_first_and_no_more_than_fit() {
    let one = Limits { capacity: 1, ..limits() };
    check(vec![job(2, "acme"), job(1, "acme")], &one, "start 1");
    check(vec![job(2, "acme"), running(1, "acme")], &one, "");
    check(vec![job(1, "acme")], &Limits { capacity: 0, ..limits() }, "");
    let large = |key| JobView { memory_bytes: 400 * MIB, ..job(key, "acme") };
    check(vec![large(1), large(2), large(3)], &limits(), "start 1, start 2");
    // A small one finds room that a large one does not.
    check(vec![large(1), large(2), large(3), job(4, "acme")], &limits(), "start 1, start 2, start 4");
    // If nobody knows the memory, places decide.
    let unknown = Limits { memory_bytes: 0, ..limits() };
    check((1..=5).map(large).collect(), &unknown, "start 1, start 2, start 3, start 4");
}

#[test]
fn a_lost_trainer_keeps_its_place_and_a_deleted_job_its_directory() {
    let one = Limits { capacity: 1, ..limits() };
    let lost = JobView { run: Run::Gone, ..running(2, "acme") };
    check(vec![job(1, "acme"), lost.clone()], &one, "requeue 2");
    let lost_often = JobView { losses_without_progress: LOSSES_WITHOUT_PROGRESS_MAX, ..lost };
    check(vec![job(1, "acme"), lost_often], &one, "give up 2, start 1");
    let deleted = JobView { state: JobState::Deleting, run: Run::Live, ..running(3, "acme") };
    let same_name = JobView { id: deleted.id.clone(), ..job(4, "acme") };
    check(vec![deleted, same_name, job(5, "acme")], &limits(), "stop 3, start 5");
}

#[test]
fn shares_are_even_and_as_large_as_needed() {
    let share = |jobs: Vec<JobView>, limits: &Limits| {
        let snapshot = Snapshot { jobs, ..Snapshot::default() };
        schedule(&snapshot, limits, 1000)
            .into_iter()
            .filter_map(|action| match action {
                Action::Start(_, share) => Some((share.memory_bytes / MIB, share.threads)),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(share(vec![job(1, "acme"), job(2, "acme")], &limits()), [(250, 2), (250, 2)]);
    let large = JobView { memory_bytes: 700 * MIB, ..job(1, "acme") };
    assert_eq!(share(vec![large, job(2, "acme")], &limits()), [(700, 2), (100, 2)]);
    let one = Limits { capacity: 1, ..limits() };
    assert_eq!(share(vec![job(1, "acme")], &one), [(1000, 8)]);
    let many = Limits { capacity: 20, ..limits() };
    assert_eq!(share(vec![job(1, "acme")], &many)[0].1, 1);
}

#[test]
fn what_can_never_fit_is_refused_and_blocks_nobody() {
    let huge = JobView { memory_bytes: 1001 * MIB, ..job(1, "acme") };
    check(vec![huge.clone(), job(2, "acme")], &limits(), "refuse 1, start 2");
    // A reservation takes from what others may have, and gives to its own.
    let limits = Limits { reservations: vec![reservation(1, 600 * MIB)], ..limits() };
    let large = JobView { memory_bytes: 500 * MIB, ..job(3, "acme") };
    let its = JobView { reservation: Some("night".into()), ..large.clone() };
    check(vec![large], &limits, "refuse 3");
    check(vec![its], &limits, "reserved 3");
}

#[test]
fn a_large_job_is_not_overtaken_for_ever() {
    let large = |waiting_since_ms| JobView { waiting_since_ms, memory_bytes: 950 * MIB, ..job(1, "acme") };
    let jobs = |since| vec![large(since), running(2, "other"), job(3, "third"), job(4, "acme")];
    check_at(PATIENCE_MS, jobs(1), &limits(), "start 3, start 4");
    check_at(PATIENCE_MS, jobs(0), &limits(), "");
    // It is not the first of all: its own account waits for it, others go on.
    let behind = vec![large(0), running(2, "other"), running(5, "acme"), job(3, "third"), job(4, "acme")];
    check_at(PATIENCE_MS, behind, &limits(), "start 3");
}

#[test]
fn accounts_share_fairly() {
    let one = Limits { capacity: 1, ..limits() };
    let two = Limits { capacity: 2, ..limits() };
    let jobs = || vec![job(1, "busy"), job(2, "busy"), job(3, "idle")];
    check(jobs(), &two, "start 1, start 3");
    check([jobs(), vec![running(4, "busy")]].concat(), &two, "start 3");
    let usage = |work_ms| {
        let account = AccountId::new("busy").unwrap();
        BTreeMap::from([(account, Usage { work_ms, time_ms: 1000 })])
    };
    let after = |work_ms, now_ms| {
        let snapshot = Snapshot { jobs: jobs(), usage: usage(work_ms), free_memory_bytes: None };
        shown(&schedule(&snapshot, &one, now_ms))
    };
    assert_eq!(after(USAGE_STEP_MS - 1, 1000), "start 1", "too little to matter");
    assert_eq!(after(USAGE_STEP_MS, 1000), "start 3");
    assert_eq!(after(USAGE_STEP_MS, 1000 + HALF_LIFE_MS), "start 1", "forgiven");
}

#[test]
fn an_account_runs_as_many_as_it_may() {
    let mut limits = limits();
    limits.running_max.of_one.insert(AccountId::new("acme").unwrap(), 1);
    check(vec![job(1, "acme"), job(2, "acme"), job(3, "other")], &limits, "start 1, start 3");
    check(vec![running(1, "acme"), job(2, "acme"), job(3, "other")], &limits, "start 3");
    limits.running_max.of_each = 0;
    check(vec![job(1, "acme"), job(3, "other")], &limits, "start 1");
}

#[test]
fn pilots_have_a_head_start_and_a_limit() {
    let one = Limits { capacity: 1, ..limits() };
    let pilot = |key| JobView { is_pilot: true, ..job(key, "acme") };
    check(vec![job(1, "acme"), pilot(2)], &one, "start 2");
    check(vec![job(1, "acme"), pilot(PILOT_HEAD_START_MS + 2)], &one, "start 1");
    let few = Limits { pilots_max: 1, ..limits() };
    check(vec![job(1, "acme"), pilot(2), pilot(3)], &few, "start 2, start 1");
}

#[test]
fn reserved_capacity_comes_first_and_is_kept() {
    let mut limits = Limits { capacity: 2, ..limits() };
    limits.reservations = vec![reservation(1, 400 * MIB)];
    let its = |key| JobView { reservation: Some("night".into()), ..job(key, "acme") };
    check(vec![its(1), its(2), its(3)], &limits, "reserved 1, start 2");
    // It stays free for its account, whoever else waits.
    check(vec![job(1, "other"), job(2, "other"), job(3, "acme")], &limits, "start 1");
    // A job of another account, or without the wish, does not get it.
    let foreign = JobView { reservation: Some("night".into()), ..job(1, "other") };
    check(vec![foreign, job(2, "other")], &limits, "start 1");
    // And does not count against its account's part of the rest.
    let share = Share { is_reserved: true, ..Share::default() };
    let kept = JobView { share, reservation: Some("night".into()), ..running(1, "acme") };
    check(vec![kept, job(2, "acme"), job(3, "other")], &limits, "start 2");
    // What is too large for it runs in shared capacity.
    let large = JobView { memory_bytes: 500 * MIB, ..its(1) };
    check(vec![large, its(2)], &limits, "start 1, reserved 2");
}

#[test]
fn who_waits_too_long_expires() {
    let limits = Limits { capacity: 1, wait_max_ms: Some(HOUR_MS), ..limits() };
    let since = |key, waiting_since_ms| JobView { waiting_since_ms, ..job(key, "acme") };
    check_at(HOUR_MS, vec![since(1, 0), since(2, 0), since(3, 1)], &limits, "start 1, expire 2");
    check_at(-HOUR_MS, vec![since(1, 0), since(2, 0)], &limits, "start 1");
    let for_ever = Limits { wait_max_ms: None, capacity: 0, ..limits };
    check_at(i64::MAX, vec![since(1, 0)], &for_ever, "");
}

#[test]
fn others_on_the_machine_are_regarded_unless_nothing_runs() {
    let with_free = |jobs, free, now_ms| {
        let snapshot = Snapshot { jobs, free_memory_bytes: Some(free), usage: BTreeMap::new() };
        shown(&schedule(&snapshot, &limits(), now_ms))
    };
    let later = HOUR_MS;
    assert_eq!(with_free(vec![running(1, "acme"), job(2, "acme")], 99 * MIB, later), "");
    assert_eq!(
        with_free(vec![running(1, "acme"), job(2, "acme"), job(3, "acme")], 150 * MIB, later),
        "start 2"
    );
    assert_eq!(with_free(vec![job(2, "acme")], 99 * MIB, later), "start 2");
    assert_eq!(with_free(vec![job(1, "acme"), job(2, "acme")], 150 * MIB, later), "start 1");
    // A trainer that has just started has not taken its memory yet.
    assert_eq!(with_free(vec![running(1, "acme"), job(2, "acme")], 150 * MIB, 1000), "");
    assert_eq!(with_free(vec![running(1, "acme"), job(2, "acme")], 200 * MIB, 1000), "start 2");
    // One that starts in the future was started before the clock was set back.
    assert_eq!(with_free(vec![running(1, "acme"), job(2, "acme")], 150 * MIB, 0), "start 2");
}

#[test]
fn a_job_of_unknown_need_waits_for_an_even_part() {
    let two = Limits { capacity: 2, ..limits() };
    let unknown = |key| JobView { memory_bytes: 0, ..job(key, "acme") };
    let beside = |memory_bytes| {
        let share = Share { memory_bytes, ..Share::default() };
        JobView { share, ..running(1, "acme") }
    };
    for (taken, expect) in [(1000, ""), (990, ""), (501, ""), (500, "start 2")] {
        check(vec![beside(taken * MIB), unknown(2)], &two, expect);
    }
    // One of known need gets what is left.
    check(vec![beside(900 * MIB), job(2, "acme")], &two, "start 2");
    check((1..=3).map(unknown).collect(), &two, "start 1, start 2");
    // The machine must have that part too, and so little of it as one byte is not nothing.
    let snapshot = |free_memory_bytes, jobs| Snapshot { jobs, free_memory_bytes, ..Snapshot::default() };
    let alone = |free| shown(&schedule(&snapshot(Some(free), vec![beside(1), unknown(2)]), &two, HOUR_MS));
    assert_eq!((alone(499 * MIB), alone(500 * MIB)), (String::new(), "start 2".to_owned()));
    let mut all_reserved = two.clone();
    all_reserved.reservations = vec![reservation(1, 1000 * MIB)];
    check(vec![unknown(1)], &all_reserved, "");
    // Nobody knows how much there is: places decide.
    check(vec![beside(0), unknown(2)], &Limits { memory_bytes: 0, ..two }, "start 2");
}

#[test]
fn a_job_that_cannot_be_looked_at_is_left_alone_and_keeps_what_it_has() {
    let unseen = |was_live, job| JobView { run: Run::Unseen { was_live }, ..job };
    // Its place is taken, and what could start without it is not refused.
    let mut limits = Limits { capacity: 2, ..limits() };
    limits.reservations = vec![reservation(1, 400 * MIB)];
    check(vec![unseen(false, running(1, "other")), job(2, "other")], &limits, "");
    // So is that of one whose trainer is being stopped, if it was there.
    let cancelled = JobView { state: JobState::Cancelled, ..running(1, "other") };
    check(vec![unseen(true, cancelled.clone()), job(2, "other")], &limits, "");
    check(vec![unseen(false, cancelled), job(2, "other")], &limits, "start 2");
    // A deleted one keeps its directory, one that waits goes on waiting.
    let deleted = JobView { state: JobState::Deleting, ..job(3, "other") };
    let same_name = JobView { id: deleted.id.clone(), ..job(4, "other") };
    check(vec![unseen(false, deleted), same_name], &limits, "");
    check_at(i64::MAX, vec![unseen(false, job(5, "other"))], &limits, "");
}

#[test]
fn what_nobody_has_counted_waits_and_may_expire() {
    let limits = Limits { wait_max_ms: Some(HOUR_MS), ..limits() };
    let uncounted = |key, account| JobView { is_counted: false, memory_bytes: 0, ..job(key, account) };
    check(vec![uncounted(1, "acme"), job(2, "acme")], &limits, "start 2");
    check_at(HOUR_MS + 1, vec![uncounted(1, "acme"), job(2, "acme")], &limits, "start 2, expire 1");
    // A process that still lives there is stopped as any other.
    let fetched = JobView { run: Run::Live, ..uncounted(1, "acme") };
    check(vec![fetched.clone()], &limits, "stop 1");
    check(vec![fetched, job(2, "acme")], &Limits { capacity: 1, ..limits }, "stop 1");
}

#[test]
fn accounts_take_turns_in_being_counted() {
    let limits = limits();
    let uncounted = |key, account| JobView { is_counted: false, ..job(key, account) };
    let mut snapshot = Snapshot::default();
    let order = |snapshot: &mut Snapshot| {
        let mut order = String::new();
        while let Some(key) = next_to_count(snapshot, &limits, 1000) {
            let job = snapshot.jobs.iter_mut().find(|job| job.key == key).unwrap();
            job.is_counted = true;
            order.push_str(&format!("{}{key} ", job.account));
        }
        order
    };
    let jobs = || vec![uncounted(1, "a"), uncounted(2, "a"), uncounted(3, "a"), uncounted(4, "b")];
    snapshot.jobs = jobs();
    assert_eq!(order(&mut snapshot), "a1 b4 a2 a3 ");
    // What runs counts, and what ran; a pilot has its head start.
    snapshot.jobs = [jobs(), vec![running(5, "a")]].concat();
    assert_eq!(order(&mut snapshot), "b4 a1 a2 a3 ");
    snapshot.usage.insert(AccountId::new("a").unwrap(), Usage { work_ms: USAGE_STEP_MS, time_ms: 1000 });
    snapshot.jobs =
        vec![uncounted(1, "a"), JobView { is_pilot: true, ..uncounted(2, "a") }, uncounted(4, "b")];
    assert_eq!(order(&mut snapshot), "b4 a2 a1 ");
}
