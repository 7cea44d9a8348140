//! Machine, users and clock.

use std::collections::BTreeMap;
use std::path::Path;

use hearth_domain::job::{Placement, PlacementFacts, StorageFacts, resolve};
use hearth_domain::price::TrainingPrices;
use hearth_domain::schedule::{
    JobView, Limits, Reservation, Run, RunningMax, Share, Snapshot, next_to_count,
};
use hearth_domain::{
    Account, AccountId, Code, Dataset, DatasetFormat, DatasetId, DatasetRef, DatasetState, Estimate, Job,
    JobEstimate, JobEvent, JobFacts, JobId, JobRequest, JobSettings, JobState, Model, ModelAbout, ModelId,
    ModelKind, SuspendState, Wish,
};
use hearth_store::{Store, StoreError};

use crate::Schedule;
use crate::server::{Mistake, Server};

/// Steps of every job.
pub const STEPS: u32 = 3;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const MIB: u64 = 1 << 20;
/// Rounds after which everything is at rest when nobody interferes.
const ROUNDS_TO_REST: u32 = 600;
/// Jobs that are kept at most: users delete what they do not need.
const JOBS_MAX: usize = 60;
/// Memory of the machine, of which other programs have a part at times.
const MACHINE_BYTES: u64 = 1200 * MIB;
const OTHERS_BYTES: u64 = 400 * MIB;
/// Time until a trainer has taken the memory that it needs.
const GROWS_MS: i64 = 30_000;
/// Names of jobs in each account.
const NAMES: u64 = 30;
pub const ACCOUNTS: [&str; 4] = ["acme", "bert", "cleo", "dora"];

/// What the operator of this world allows.
pub fn limits() -> Limits {
    let account = |name: &str| AccountId::new(name).unwrap();
    Limits {
        capacity: 4,
        memory_bytes: 1000 * MIB,
        threads: 8,
        reservations: vec![Reservation {
            account: account("acme"),
            id: "night".into(),
            trainers: 1,
            memory_bytes: 200 * MIB,
        }],
        running_max: RunningMax {
            of_each: 3,
            of_one: BTreeMap::from([(account("bert"), 1), (account("dora"), 1)]),
        },
        pilots_max: 2,
        pilot_head_start_ms: 10 * MINUTE_MS,
        patience_ms: 5 * MINUTE_MS,
        wait_max_ms: Some(6 * HOUR_MS),
        stop_grace_ms: 20_000,
    }
}

/// Random numbers: splitmix64, the same for the same seed everywhere.
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A trainer that lives.
#[derive(Clone, Debug)]
pub struct Trainer {
    /// Key of its job.
    pub key: i64,
    pub share: Share,
    pub is_pilot: bool,
    /// It was asked to stop.
    pub stopping: bool,
    /// It fetches rows and does not train.
    is_fetcher: bool,
    since_ms: i64,
    phase: u32,
}

/// What a run directory holds: what its trainers said, and the step of the last checkpoint.
#[derive(Clone, Debug, Default)]
pub struct RunDir {
    pub events: Vec<Said>,
    /// The rows are here, of a job whose rows lie elsewhere.
    pub is_fetched: bool,
    pub step: u32,
    /// Steps that were done, those that were repeated too.
    pub steps_done: u32,
}

/// What a trainer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Fetched,
    Validated,
    Step(u32),
    Writing,
    Finished,
    Failed,
    Paused,
}

/// A job as it must be.
#[derive(Clone, Debug)]
pub struct Known {
    pub job: Job,
    /// Memory that it needs; 0 if nobody can say it.
    pub size_bytes: u64,
    /// Its rows lie elsewhere.
    pub is_remote: bool,
    /// Its trainers die before their first step.
    pub dies: bool,
    /// Changes of state, each of which has an event.
    pub changes: usize,
    /// Trainers that were started for others while it could have had one.
    pub passed: u32,
    /// Those of them that were for younger jobs of its account.
    pub overtaken: u32,
    /// Rounds after which it still waited, though it had waited long enough to expire.
    pub late_rounds: u32,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub created: u32,
    pub completed: u32,
    pub early: u32,
    pub fetched: u32,
    pub counted: u32,
    pub unseen: u32,
    pub failed: u32,
    pub refused: u32,
    pub expired: u32,
    pub lost: u32,
    pub killed: u32,
    pub given_up: u32,
    pub removed: u32,
    pub restarts: u32,
    pub resumed: u32,
    pub repeated: u32,
    pub suspended: u32,
    pub reserved: u32,
    pub pilots: u32,
    pub passed_most: u32,
    pub overtaken_most: u32,
    pub rest_rounds_most: u32,
}

impl Seen {
    /// What must not be rare.
    pub fn counts(&self) -> [(&'static str, u32); 19] {
        [
            ("created jobs", self.created),
            ("completed jobs", self.completed),
            ("jobs that ended early", self.early),
            ("fetched rows", self.fetched),
            ("jobs that were counted late", self.counted),
            ("jobs that could not be looked at", self.unseen),
            ("failed jobs", self.failed),
            ("refused jobs", self.refused),
            ("expired jobs", self.expired),
            ("lost trainers", self.lost),
            ("killed trainers", self.killed),
            ("jobs that were given up", self.given_up),
            ("removed jobs", self.removed),
            ("restarts", self.restarts),
            ("resumed jobs", self.resumed),
            ("repeated calls", self.repeated),
            ("suspended jobs", self.suspended),
            ("starts in reserved capacity", self.reserved),
            ("pilots", self.pilots),
        ]
    }
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub server: Server,
    pub random: Random,
    pub now_ms: i64,
    /// By account and id, as the file system has them.
    pub trainers: BTreeMap<(AccountId, JobId), Trainer>,
    pub dirs: BTreeMap<(AccountId, JobId), RunDir>,
    pub known: BTreeMap<i64, Known>,
    pub suspended: Vec<AccountId>,
    pub seen: Seen,
    pub step: u64,
    outputs: u64,
    /// Memory that other programs have.
    others_bytes: u64,
}

impl World {
    pub async fn new(seed: u64, decide: Schedule, mistake: Mistake) -> Self {
        // What is in memory need not be forced to disk: a history has hundreds of thousands of transactions.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let store = Store::open(dir.path(), 0).await.unwrap();
        for name in ACCOUNTS {
            let account = Account::new(AccountId::new(name).unwrap(), "", "", 0);
            store.account_create(&account).await.unwrap();
        }
        Self {
            dir,
            store,
            server: Server::new(decide, mistake),
            random: Random(seed),
            now_ms: 1_000_000_000_000,
            trainers: BTreeMap::new(),
            dirs: BTreeMap::new(),
            known: BTreeMap::new(),
            suspended: Vec::new(),
            seen: Seen::default(),
            step: 0,
            outputs: 0,
            others_bytes: 0,
        }
    }

    /// Something happens, and the rules still hold.
    pub async fn step(&mut self) -> Result<(), String> {
        self.step += 1;
        self.now_ms += self.random.below(5_000) as i64;
        match self.random.below(100) {
            0..16 => self.create().await?,
            16 => self.wish(Wish::Pause).await?,
            17..20 => self.wish(Wish::Resume).await?,
            20 => self.wish(Wish::Cancel).await?,
            21..30 => self.delete().await?,
            30..60 => self.work(),
            60..62 => self.crash(),
            62..64 => self.fail(),
            64 => self.restart().await,
            65 if self.random.one_in(10) => self.jump(),
            66 if self.random.one_in(4) => self.suspend().await?,
            67 => self.others_bytes = self.random.below(2) * OTHERS_BYTES,
            _ => self.round().await?,
        }
        self.check().await
    }

    fn account(&mut self) -> AccountId {
        let index = self.random.below(ACCOUNTS.len() as u64) as usize;
        AccountId::new(ACCOUNTS[index]).unwrap()
    }

    /// A job that users see.
    fn any_job(&mut self) -> Option<i64> {
        let shown: Vec<i64> = self.shown().collect();
        let index = self.random.below(shown.len().max(1) as u64) as usize;
        shown.get(index).copied()
    }

    fn shown(&self) -> impl Iterator<Item = i64> {
        let is_shown = |known: &Known| known.job.state != JobState::Deleting;
        self.known.iter().filter(move |(_, known)| is_shown(known)).map(|(key, _)| *key)
    }

    async fn create(&mut self) -> Result<(), String> {
        if self.known.len() >= JOBS_MAX {
            return self.delete().await;
        }
        let account = self.account();
        let id = JobId::new(format!("job-{}", self.random.below(NAMES))).unwrap();
        self.create_job(account, id).await
    }

    async fn create_job(&mut self, account: AccountId, id: JobId) -> Result<(), String> {
        self.outputs += 1;
        let mut settings = settings(&account, &id, self.outputs);
        // dora makes pilots mostly, acme may use what is kept for it.
        settings.placement = Placement {
            region: String::new(),
            is_pilot: (account.as_str() == "dora" && !self.random.one_in(6)) || self.random.one_in(8),
            reservation: (account.as_str() == "acme" && self.random.one_in(2)).then(|| "night".to_owned()),
        };
        let mut job = Job::new(account.clone(), id.clone(), settings, "", self.now_ms);
        let sizes = [0, 50, 50, 100, 100, 150, 300, 700, 5000];
        let size_bytes = sizes[self.random.below(sizes.len() as u64) as usize] * MIB;
        let (is_remote, dies) = (self.random.one_in(4), self.random.one_in(25));
        // Some are counted later, and rows that are not here cannot be.
        job.estimate = match (self.random.one_in(4), is_remote) {
            (true, _) => JobEstimate::Waiting,
            (false, true) => JobEstimate::Unknown,
            (false, false) => estimate(size_bytes),
        };
        let made = self.store.job_create(&job).await;
        let is_taken = self.shown().any(|key| {
            let known = &self.known[&key].job;
            (&known.account, &known.id) == (&account, &id)
        });
        match made {
            Ok(stored) => {
                if is_taken || self.suspended.contains(&account) {
                    return Err(format!("{} was made though its name is taken or suspended", job.name()));
                }
                self.seen.created += 1;
                self.seen.pilots += u32::from(job.settings.placement.is_pilot);
                let (changes, passed, overtaken, late_rounds) = (0, 0, 0, 0);
                let known =
                    Known { job, size_bytes, is_remote, dies, changes, passed, overtaken, late_rounds };
                self.known.insert(stored.key, known);
            }
            Err(error) => match error.code() {
                Code::AlreadyExists if is_taken => self.seen.repeated += 1,
                Code::FailedPrecondition if self.suspended.contains(&account) => {}
                _ => return Err(format!("{} was not made: {error}", job.name())),
            },
        }
        Ok(())
    }

    /// A user asks for something, and asks again now and then.
    async fn wish(&mut self, wish: Wish) -> Result<(), String> {
        let Some(key) = self.any_job() else { return Ok(()) };
        let answer = self.store.job_wish(key, wish, self.now_ms).await;
        let before = self.known[&key].job.clone();
        let is_shut = wish == Wish::Resume && self.suspended.contains(&before.account);
        match (&answer, before.wish(wish)) {
            (Ok(job), Ok(Some(event))) if !is_shut => {
                self.seen.resumed += u32::from(wish == Wish::Resume);
                self.expect(key, &event)?;
                if self.known[&key].job != *job {
                    return Err(format!("{wish:?} left {job:?}"));
                }
            }
            (Ok(job), Ok(None)) if *job == before => {}
            (Err(StoreError::Transition(_)), Err(_)) => {}
            (Err(error), _) if error.code() == Code::NotFound => {
                return Err(format!("{} is lost", before.name()));
            }
            (Err(error), _) if is_shut && error.code() == Code::FailedPrecondition => {}
            (answer, _) => return Err(format!("{wish:?} of {before:?} gave {answer:?}")),
        }
        if answer.is_ok() && self.random.one_in(3) {
            self.seen.repeated += 1;
            let again = match self.server.mistake {
                Mistake::RefusesRepeats => {
                    self.store.job_transition(key, None, &wish.event(), self.now_ms).await
                }
                _ => self.store.job_wish(key, wish, self.now_ms).await,
            };
            if again.as_ref().ok() != answer.as_ref().ok() {
                return Err(format!("repeated {wish:?} gave {again:?} after {answer:?}"));
            }
        }
        Ok(())
    }

    /// Mostly of a job that is at its end.
    async fn delete(&mut self) -> Result<(), String> {
        let ended = self.known.iter().find(|(_, known)| known.job.state.is_final()).map(|(key, _)| *key);
        let any = self.any_job();
        let Some(key) = ended.filter(|_| !self.random.one_in(8)).or(any) else { return Ok(()) };
        let done = self.store.job_transition(key, None, &JobEvent::Delete, self.now_ms).await;
        done.map_err(|error| format!("not deleted: {error}"))?;
        self.expect(key, &JobEvent::Delete)?;
        let Job { account, id, .. } = self.known[&key].job.clone();
        // For users it is gone.
        match self.store.job_get(&account, &id).await {
            Err(error) if error.code() == Code::NotFound => {}
            other => return Err(format!("a deleted job is still there: {other:?}")),
        }
        // And often the next one has its name.
        if self.random.one_in(3) { self.create_job(account, id).await } else { Ok(()) }
    }

    /// The job must be as after this event; the store has been told.
    pub fn expect(&mut self, key: i64, event: &JobEvent) -> Result<(), String> {
        let now_ms = self.now_ms;
        let known =
            self.known.get_mut(&key).ok_or_else(|| format!("{} of a job that is gone", event.name()))?;
        known.job.apply(event, now_ms).map_err(|error| error.to_string())?;
        known.changes += 1;
        if known.job.state.is_waiting() {
            (known.passed, known.overtaken, known.late_rounds) = (0, 0, 0);
        }
        Ok(())
    }

    fn any_trainer(&mut self) -> Option<(AccountId, JobId)> {
        let index = self.random.below(self.trainers.len().max(1) as u64) as usize;
        self.trainers.keys().nth(index).cloned()
    }

    /// A live trainer does its next piece of work, or ends.
    fn work(&mut self) {
        if let Some(place) = self.any_trainer() {
            self.work_at(&place);
        }
    }

    fn work_at(&mut self, place: &(AccountId, JobId)) {
        let trainer = self.trainers.get_mut(place).expect("it lives");
        let dir = self.dirs.get_mut(place).expect("a trainer has a directory");
        self.now_ms += 1_000;
        if trainer.is_fetcher {
            // One that is asked to stop has nothing to say.
            if !trainer.stopping {
                dir.is_fetched = true;
                dir.events.push(Said::Fetched);
            }
            self.trainers.remove(place);
            return;
        }
        if self.known.get(&trainer.key).is_some_and(|known| known.dies) {
            self.trainers.remove(place);
            return;
        }
        if trainer.stopping {
            dir.events.push(Said::Paused);
            self.trainers.remove(place);
            return;
        }
        let (said, ends) = match trainer.phase {
            0 => (Said::Validated, false),
            _ if dir.step < STEPS => {
                dir.step += 1;
                dir.steps_done += 1;
                (Said::Step(dir.step), false)
            }
            phase if phase < 100 => {
                trainer.phase = 100;
                (Said::Writing, false)
            }
            _ => (Said::Finished, true),
        };
        trainer.phase += 1;
        dir.events.push(said);
        if ends {
            self.trainers.remove(place);
        }
    }

    /// A trainer dies without a word. What it did since its last checkpoint is lost.
    fn crash(&mut self) {
        if let Some(place) = self.any_trainer() {
            let dir = self.dirs.get_mut(&place).expect("a trainer has a directory");
            dir.step = dir.step.saturating_sub(self.random.below(2) as u32);
            self.trainers.remove(&place);
        }
    }

    /// Somebody says what a job takes, of those that wait for it.
    pub async fn count(&mut self) -> Result<(), String> {
        let views = self.known.iter().map(|(key, known)| JobView::new(*key, &known.job, Run::Gone)).collect();
        let snapshot = Snapshot { jobs: views, ..Snapshot::default() };
        let Some(key) = next_to_count(&snapshot, &limits(), self.now_ms) else { return Ok(()) };
        let known = self.known.get_mut(&key).expect("it is known");
        let is_here = |dir: &RunDir| dir.is_fetched;
        let place = (known.job.account.clone(), known.job.id.clone());
        let can_be_read =
            !known.is_remote || (known.job.has_started && self.dirs.get(&place).is_some_and(is_here));
        known.job.estimate = if can_be_read { estimate(known.size_bytes) } else { JobEstimate::Unknown };
        self.seen.counted += 1;
        self.store.job_set_estimate(key, &known.job.estimate).await.map_err(|error| error.to_string())
    }

    /// A trainer finds fault with the rows.
    fn fail(&mut self) {
        if let Some(place) = self.any_trainer() {
            self.dirs.get_mut(&place).expect("a trainer has a directory").events.push(Said::Failed);
            self.trainers.remove(&place);
        }
    }

    /// The server dies and starts again; at times so does the database.
    pub async fn restart(&mut self) {
        self.seen.restarts += 1;
        self.server.forget();
        if self.random.one_in(4) {
            self.store.close().await;
            self.store = Store::open(self.dir.path(), self.now_ms).await.unwrap();
        }
    }

    /// The clock is set, forward or an hour back.
    fn jump(&mut self) {
        self.now_ms += match self.random.below(4) {
            0 => -HOUR_MS,
            1 => HOUR_MS,
            2 => 30 * MINUTE_MS,
            // A night in which the machine slept.
            _ => 9 * HOUR_MS,
        };
    }

    /// The operator suspends an account, or lifts it.
    async fn suspend(&mut self) -> Result<(), String> {
        let account = self.account();
        let is_suspended = self.suspended.contains(&account);
        // More often lifted than not, so that there is something to do.
        if !is_suspended && self.random.one_in(2) {
            return Ok(());
        }
        self.set_suspended(&account, !is_suspended).await
    }

    async fn set_suspended(&mut self, account: &AccountId, suspend: bool) -> Result<(), String> {
        let state = if suspend { SuspendState::FailedPayments } else { SuspendState::Unsuspended };
        self.store.account_suspend(account, state, self.now_ms).await.map_err(|error| error.to_string())?;
        let of_account = |known: &Known| known.job.account == *account;
        let (event, moved): (_, fn(&Job) -> bool) = if suspend {
            (JobEvent::Suspend, |job| job.state.is_waiting() || job.state.is_active())
        } else {
            (JobEvent::Unsuspend, |job| job.is_suspended)
        };
        let keys: Vec<i64> = self
            .known
            .iter()
            .filter(|(_, known)| of_account(known) && moved(&known.job))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.expect(key, &event)?;
            self.seen.suspended += u32::from(suspend);
            if suspend && self.server.mistake == Mistake::IgnoresSuspension {
                let go_on = JobEvent::Unsuspend;
                let done = self.store.job_transition(key, None, &go_on, self.now_ms).await;
                done.map_err(|error| error.to_string())?;
                self.expect(key, &go_on)?;
            }
        }
        match suspend {
            true => self.suspended.push(account.clone()),
            false => self.suspended.retain(|one| one != account),
        }
        Ok(())
    }

    /// Nobody interferes: every job comes to its end, and deleted ones vanish.
    pub async fn rest(&mut self) -> Result<(), String> {
        for account in self.suspended.clone() {
            self.set_suspended(&account, false).await?;
        }
        for round in 1..=ROUNDS_TO_REST {
            self.seen.rest_rounds_most = self.seen.rest_rounds_most.max(round);
            self.now_ms += 1_000;
            self.count().await?;
            self.round().await?;
            for place in self.trainers.keys().cloned().collect::<Vec<_>>() {
                self.work_at(&place);
            }
            self.check_now()?;
            let rests = |known: &Known| known.job.state.is_final() || known.job.state == JobState::Paused;
            if self.trainers.is_empty() && self.known.values().all(rests) {
                return self.check_all().await;
            }
        }
        let late = self.known.values().find(|known| !known.job.state.is_final());
        Err(format!("never at rest: {late:?} with trainers {:?}", self.trainers))
    }

    /// What the machine says that it can give.
    pub fn free_memory(&self) -> Option<u64> {
        let is_grown = |one: &&Trainer| !(0..GROWS_MS).contains(&(self.now_ms - one.since_ms));
        let taken: u64 = self.trainers.values().filter(is_grown).map(|one| self.needed_by(one)).sum();
        Some(MACHINE_BYTES.saturating_sub(self.others_bytes + taken))
    }

    /// Memory that a trainer will have in the end. One whose job has ended takes no more.
    fn needed_by(&self, trainer: &Trainer) -> u64 {
        let job = self.known.get(&trainer.key).map(|known| &known.job);
        job.filter(|job| job.state.is_active()).map_or(0, needed)
    }

    /// A trainer that starts beside others finds what it needs when they have all that they need.
    fn check_machine(&self) -> Result<(), String> {
        let taken: u64 = self.trainers.values().map(|one| self.needed_by(one)).sum();
        let there = MACHINE_BYTES - self.others_bytes;
        match self.trainers.len() > 1 && taken > there {
            true => Err(format!("trainers need {taken} of the machine, which has {there}")),
            false => Ok(()),
        }
    }

    /// A trainer is started for a job.
    pub fn launch(&mut self, key: i64, share: Share, is_fetcher: bool) -> Result<(), String> {
        let job = self.known[&key].job.clone();
        let place = (job.account.clone(), job.id.clone());
        if let Some(other) = self.trainers.get(&place) {
            return Err(format!("{} runs twice: beside the trainer of {}", job.name(), other.key));
        }
        let dir = self.dirs.entry(place.clone()).or_default();
        if dir.events.last() == Some(&Said::Finished) {
            // A run that is finished is left as it is.
            return Ok(());
        }
        let is_pilot = job.settings.placement.is_pilot;
        self.trainers.insert(
            place,
            Trainer { key, share, is_pilot, stopping: false, is_fetcher, since_ms: self.now_ms, phase: 0 },
        );
        if is_fetcher { Ok(()) } else { self.check_machine() }
    }
}

/// Of a job that needs so much memory; 0 is one whose need nobody knows.
fn estimate(least_memory_bytes: u64) -> JobEstimate {
    match least_memory_bytes {
        0 => JobEstimate::Unknown,
        _ => JobEstimate::Known(Estimate {
            tokens: 1,
            cost: TrainingPrices::default().of(1, 1),
            memory_bytes_low: least_memory_bytes,
            memory_bytes_high: least_memory_bytes,
            least_memory_bytes,
            seconds_low: 1.0,
            seconds_high: 2.0,
        }),
    }
}

/// Memory that a job needs, if somebody knows.
pub fn needed(job: &Job) -> u64 {
    job.estimate.known().map_or(0, |estimate| estimate.least_memory_bytes)
}

/// Of a job whose model nobody else makes.
fn settings(account: &AccountId, job: &JobId, output: u64) -> JobSettings {
    let name = DatasetRef { account: account.clone(), id: DatasetId::new("rows").unwrap() };
    let rows = Dataset {
        state: DatasetState::Ready,
        format: DatasetFormat::Chat,
        example_count: 5,
        ..Dataset::new(name, "", 0)
    };
    let base = Model {
        account: AccountId::new("fireworks").unwrap(),
        id: ModelId::new("tiny").unwrap(),
        display_name: String::new(),
        about: ModelAbout::default(),
        upload: None,
        kind: ModelKind::Base { parameter_count: 1000 },
        context_length: 2048,
        model_type: "llama".into(),
        imported_from: String::new(),
        created_by: String::new(),
        create_time_ms: 0,
        update_time_ms: 0,
    };
    let request = JobRequest {
        dataset: "rows".into(),
        base_model: "accounts/fireworks/models/tiny".into(),
        output_model: format!("model-{output}"),
        ..JobRequest::default()
    };
    let facts = JobFacts {
        account: account.clone(),
        job: job.clone(),
        dataset: Some(rows),
        evaluation_dataset: None,
        base_model: Some(base),
        warm_start: None,
        placement: PlacementFacts::default(),
        storage: StorageFacts::default(),
    };
    resolve(&request, &facts).unwrap()
}
