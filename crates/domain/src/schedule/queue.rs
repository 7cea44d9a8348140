//! Which waiting jobs start now, which never can, and which have waited too long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::pool::Pools;
use super::{Action, JobView, Limits, Run, Snapshot, TooLarge, USAGE_STEP_MS};
use crate::id::AccountId;
use crate::state::JobState;

/// What trainers do and did for an account.
#[derive(Clone, Copy, Default)]
struct Account {
    /// All of its trainers, for its quota.
    running: u64,
    /// Those in shared capacity. What is kept for an account does not count against its part of the rest.
    shared: u64,
    /// Work in shared capacity.
    usage_ms: u64,
}

/// Actions about jobs that wait. `busy` are those that have a trainer, or keep their place for the next one.
pub(super) fn starts(snapshot: &Snapshot, busy: &[&JobView], limits: &Limits, now_ms: i64) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut pools = Pools::new(limits, snapshot, busy, now_ms);
    let mut accounts = accounts(snapshot, busy, now_ms);
    let mut pilots = busy.iter().filter(|job| job.is_pilot).count();
    let mut waiting: Vec<&JobView> = Vec::new();
    for job in snapshot.jobs.iter().filter(|job| job.state.is_waiting() && job.run == Run::Gone) {
        match pools.memory_max_bytes(job) {
            Some(limit_bytes) if job.memory_bytes > limit_bytes && limits.capacity > 0 => {
                let too_large = TooLarge { needed_bytes: job.memory_bytes, limit_bytes };
                actions.push(Action::Refuse(job.key, too_large));
            }
            _ => waiting.push(job),
        }
    }
    // Accounts whose oldest job does not fit and waited long: their younger ones do not take its place.
    let mut barred: BTreeSet<&AccountId> = BTreeSet::new();
    let mut is_shared_open = true;
    let mut is_first = true;
    let mut started: BTreeSet<i64> = BTreeSet::new();
    // Each turn takes the job that comes first as things stand after those before it.
    let counted: Vec<&JobView> = waiting.iter().copied().filter(|job| job.is_counted).collect();
    let mut queue = Queue::new(&counted, &snapshot.jobs, limits);
    while pools.have_room()
        && let Some(job) = queue.next(&accounts)
    {
        let account = accounts.entry(job.account.clone()).or_default();
        if account.running >= limits.running_max.of(&job.account) {
            continue;
        }
        if job.is_pilot && pilots >= limits.pilots_max {
            queue.push(&job.account, *account);
            continue;
        }
        match pools.place(job, is_shared_open && !barred.contains(&job.account)) {
            Some(share) => {
                actions.push(Action::Start(job.key, share));
                started.insert(job.key);
                account.running += 1;
                account.shared += u64::from(!share.is_reserved);
                pilots += usize::from(job.is_pilot);
            }
            None if now_ms.saturating_sub(job.waiting_since_ms) >= limits.patience_ms => {
                barred.insert(&job.account);
                // What comes first of all is not overtaken for ever.
                is_shared_open &= !is_first;
                is_first = false;
            }
            None => is_first = false,
        }
        queue.push(&job.account, *account);
    }
    if let Some(wait_max_ms) = limits.wait_max_ms {
        let late = |job: &&&JobView| {
            now_ms.saturating_sub(job.waiting_since_ms) >= wait_max_ms && !started.contains(&job.key)
        };
        actions.extend(waiting.iter().filter(late).map(|job| Action::Expire(job.key)));
    }
    actions
}

/// See [`super::next_to_count`].
pub(super) fn next_to_count(snapshot: &Snapshot, limits: &Limits, now_ms: i64) -> Option<i64> {
    let is_ready = |job: &&JobView| job.is_counted && (job.state.is_waiting() || job.state.is_active());
    let ready: Vec<&JobView> = snapshot.jobs.iter().filter(is_ready).collect();
    let accounts = accounts(snapshot, &ready, now_ms);
    let order = |job: &&JobView| {
        let account = accounts.get(&job.account).copied().unwrap_or_default();
        (account.running, account.usage_ms / USAGE_STEP_MS, age(job, limits), job.key)
    };
    let uncounted = snapshot.jobs.iter().filter(|job| job.state.is_waiting() && !job.is_counted);
    uncounted.min_by_key(order).map(|job| job.key)
}

/// When a job counts as made.
fn age(job: &JobView, limits: &Limits) -> i64 {
    let head_start = if job.is_pilot { limits.pilot_head_start_ms } else { 0 };
    job.create_time_ms.saturating_sub(head_start)
}

fn accounts(snapshot: &Snapshot, busy: &[&JobView], now_ms: i64) -> BTreeMap<AccountId, Account> {
    let mut accounts: BTreeMap<AccountId, Account> = BTreeMap::new();
    for (account, usage) in &snapshot.usage {
        accounts.entry(account.clone()).or_default().usage_ms = usage.at(now_ms);
    }
    for job in busy {
        let account = accounts.entry(job.account.clone()).or_default();
        account.running += 1;
        if job.share.is_reserved {
            continue;
        }
        account.shared += 1;
        let since = job.active_since_ms.unwrap_or(now_ms);
        account.usage_ms = account.usage_ms.saturating_add(now_ms.saturating_sub(since).max(0) as u64);
    }
    accounts
}

/// The jobs that may start, each account's by age.
struct Queue<'a> {
    jobs: BTreeMap<&'a AccountId, VecDeque<(i64, &'a JobView)>>,
    /// The first of each account: fewest trainers, then least work, then age.
    first: BTreeSet<(u64, u64, i64, i64, &'a AccountId)>,
    is_new: bool,
}

impl<'a> Queue<'a> {
    fn new(waiting: &[&'a JobView], all: &'a [JobView], limits: &Limits) -> Self {
        // A deleted job of the same name still has its run directory.
        let is_deleted = |job: &&JobView| job.state == JobState::Deleting;
        let taken: BTreeSet<_> = all.iter().filter(is_deleted).map(|job| (&job.account, &job.id)).collect();
        let mut jobs: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for job in waiting.iter().filter(|job| !taken.contains(&(&job.account, &job.id))) {
            jobs.entry(&job.account).or_default().push((age(job, limits), *job));
        }
        let sorted = |mut jobs: Vec<(i64, &'a JobView)>| {
            jobs.sort_by_key(|(age, job)| (*age, job.key));
            VecDeque::from(jobs)
        };
        let jobs = jobs.into_iter().map(|(account, jobs)| (account, sorted(jobs))).collect();
        Self { jobs, first: BTreeSet::new(), is_new: true }
    }

    /// Lets an account take part with the oldest job that is left.
    fn push(&mut self, account: &AccountId, stands: Account) {
        if let Some((account, jobs)) = self.jobs.get_key_value(account)
            && let Some((age, job)) = jobs.front()
        {
            self.first.insert((stands.shared, stands.usage_ms / USAGE_STEP_MS, *age, job.key, account));
        }
    }

    /// Takes the job that comes first. Its account takes part again after [`push`](Self::push).
    fn next(&mut self, accounts: &BTreeMap<AccountId, Account>) -> Option<&'a JobView> {
        if std::mem::take(&mut self.is_new) {
            for account in self.jobs.keys().copied().collect::<Vec<_>>() {
                self.push(account, accounts.get(account).copied().unwrap_or_default());
            }
        }
        let (.., account) = self.first.pop_first()?;
        self.jobs.get_mut(account)?.pop_front().map(|(_, job)| job)
    }
}
