//! What a server does in a round, over the real store: it looks at the jobs and their trainers, takes in what they said,
//! asks `schedule`, and acts. It may die after each of these.

use std::collections::{BTreeMap, BTreeSet};

use hearth_domain::schedule::{Action, JobView, Run, Share, Snapshot, may_have_run};
use hearth_domain::{
    Code, Job, JobEstimate, JobEvent, JobProgress, JobState, Model, ModelAbout, ModelKind, Status, transition,
};
use hearth_store::{RunReport, StoredJob};
use sqlx::Connection;

use crate::Schedule;
use crate::world::{STEPS, Said, World, limits};

/// Waiting jobs of a line that a round looks at.
const LINE_MAX: usize = 32;

/// What a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    None,
    /// It believes that nothing runs which it did not start itself.
    StartsTwice,
    /// It changes a state behind the table's back.
    WritesWithoutEvent,
    /// It removes the row of a job that is not deleted.
    ForgetsRow,
    /// It says no to what was granted before.
    RefusesRepeats,
    /// It lets jobs of a suspended account go on.
    IgnoresSuspension,
    /// It takes what it cannot look at for gone.
    TakesUnseenForGone,
}

/// What a server keeps in memory.
pub struct Server {
    pub decide: Schedule,
    pub mistake: Mistake,
    /// Since when trainers were asked to stop, by the job's key.
    stopping: BTreeMap<i64, i64>,
    /// Jobs whose trainer it started or saw.
    seen_alive: Vec<i64>,
    /// Those whose trainer lived when it looked last; `None` before it has looked for what an earlier server left.
    alive: Option<BTreeSet<i64>>,
}

impl Server {
    pub fn new(decide: Schedule, mistake: Mistake) -> Self {
        Self { decide, mistake, stopping: BTreeMap::new(), seen_alive: Vec::new(), alive: None }
    }

    /// It dies.
    pub fn forget(&mut self) {
        self.stopping.clear();
        self.seen_alive.clear();
        self.alive = None;
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl World {
    /// One round; it may be the last of this server.
    pub async fn round(&mut self) -> Result<(), String> {
        if self.random.one_in(2) {
            self.count().await?;
        }
        let mut jobs = self.store.job_unfinished(LINE_MAX).await.map_err(text)?;
        // Trainers of jobs at rest: they are being stopped.
        for (place, trainer) in &self.trainers {
            if !jobs.iter().any(|stored| stored.key == trainer.key) {
                let stored = self.store.job_by_key(trainer.key).await.map_err(text)?;
                jobs.extend([stored.ok_or_else(|| format!("{place:?} has a trainer and its row is lost"))?]);
            }
        }
        let mut views = Vec::new();
        for stored in &mut jobs {
            if self.random.one_in(50) {
                self.seen.unseen += 1;
                let run = self.unseen(stored);
                views.push(JobView::new(stored.key, &stored.job, run));
                continue;
            }
            let run = self.run(stored);
            if !stored.job.state.is_waiting() && !self.follow(stored).await? {
                self.restart().await;
                return Ok(());
            }
            views.push(JobView::new(stored.key, &stored.job, run));
        }
        let usage = self.store.usage_list().await.map_err(text)?;
        let snapshot = Snapshot { jobs: views, usage, free_memory_bytes: self.free_memory() };
        let limits = limits();
        let actions = (self.server.decide)(&snapshot, &limits, self.now_ms);
        let again = self.random.one_in(8);
        let mut dies = false;
        for action in &actions {
            if self.random.one_in(60) {
                dies = true;
                break;
            }
            let stored = jobs.iter().find(|stored| stored.key == action.key());
            let job =
                stored.ok_or_else(|| format!("{action:?} is about no job of the snapshot"))?.job.clone();
            if !self.act(*action, &job).await? {
                dies = true;
                break;
            }
            self.check_limits()?;
        }
        if dies {
            self.restart().await;
            return Ok(());
        }
        if again {
            self.asks_for_nothing_twice(&snapshot, &actions).await?;
        }
        self.count_late()
    }

    /// Whether the job has a trainer, as far as the server can know.
    fn run(&mut self, stored: &StoredJob) -> Run {
        let place = (stored.job.account.clone(), stored.job.id.clone());
        // The lock on the directory tells.
        let lives = may_have_run(&stored.job) && self.trainers.contains_key(&place);
        let alive =
            self.server.alive.get_or_insert_with(|| self.trainers.values().map(|one| one.key).collect());
        if !lives {
            alive.remove(&stored.key);
            self.server.stopping.remove(&stored.key);
            return Run::Gone;
        }
        alive.insert(stored.key);
        if self.server.mistake == Mistake::StartsTwice && !self.server.seen_alive.contains(&stored.key) {
            return Run::Gone;
        }
        match self.server.stopping.get(&stored.key) {
            Some(since_ms) => Run::Stopping { since_ms: *since_ms },
            None => Run::Live,
        }
    }

    /// What it makes of a job that it cannot look at.
    fn unseen(&mut self, stored: &StoredJob) -> Run {
        let alive =
            self.server.alive.get_or_insert_with(|| self.trainers.values().map(|one| one.key).collect());
        match self.server.mistake {
            Mistake::TakesUnseenForGone => Run::Gone,
            _ => Run::Unseen { was_live: alive.contains(&stored.key) },
        }
    }

    /// Takes in what the run said. Whether the server is still there after it.
    async fn follow(&mut self, stored: &mut StoredJob) -> Result<bool, String> {
        let place = (stored.job.account.clone(), stored.job.id.clone());
        // The directory may belong to a deleted job of this name.
        let Some(dir) = self.dirs.get(&place).filter(|_| stored.job.has_started) else { return Ok(true) };
        if dir.events.len() as u64 <= stored.job.events_read {
            return Ok(true);
        }
        let mut report = RunReport { events_read: dir.events.len() as u64, ..RunReport::default() };
        report.progress = stored.job.progress;
        let mut finished = false;
        if stored.job.state.is_active() {
            let mut state = stored.job.state;
            for said in &dir.events[stored.job.events_read as usize..] {
                let moves = match said {
                    Said::Fetched => vec![JobEvent::Fetched],
                    Said::Validated => vec![JobEvent::Validate],
                    Said::Step(step) => {
                        report.progress = JobProgress {
                            step: u64::from(*step),
                            total_steps: u64::from(STEPS),
                            ..report.progress
                        };
                        vec![JobEvent::Validate]
                    }
                    Said::Writing | Said::Finished => vec![JobEvent::Validate, JobEvent::Write],
                    Said::Failed => vec![JobEvent::Fail(Status::new(Code::InvalidArgument, "bad row"))],
                    Said::Paused => vec![JobEvent::Interrupt],
                };
                for event in moves {
                    if let Ok(next) = transition(state, &event) {
                        state = next;
                        report.events.push(event);
                    }
                }
                finished |= *said == Said::Finished && state == JobState::WritingResults;
            }
            // The last word is found again if the server dies before it has acted on it.
            report.events_read -= u64::from(finished);
        }
        let key = stored.key;
        stored.job = self.store.job_follow(key, &report, self.now_ms).await.map_err(text)?;
        let (now_ms, known) = (self.now_ms, self.known.get_mut(&key).expect("it is known"));
        known.job.events_read = known.job.events_read.max(report.events_read);
        if known.job.state.is_active() {
            known.job.advance(report.progress, now_ms);
            for event in &report.events {
                self.seen.failed += u32::from(matches!(event, JobEvent::Fail(_)));
                self.seen.fetched += u32::from(*event == JobEvent::Fetched);
                self.expect(key, event)?;
            }
        }
        // Between the installed model and its row.
        if finished && self.random.one_in(20) {
            return Ok(false);
        }
        if finished {
            let model = output(&stored.job, self.now_ms);
            let is_early = key % 5 == 0;
            let event = if is_early { JobEvent::FinishEarly } else { JobEvent::Finish };
            stored.job = self.store.job_finish(key, &event, &model, self.now_ms).await.map_err(text)?;
            self.expect(key, &event)?;
            self.seen.completed += 1;
            self.seen.early += u32::from(is_early);
        }
        Ok(true)
    }

    /// Carries an action out, if it is right. Whether the server is still there after it.
    async fn act(&mut self, action: Action, job: &Job) -> Result<bool, String> {
        let wrong = |why: &str| Err(format!("{action:?} of {job:?}: {why}"));
        let place = (job.account.clone(), job.id.clone());
        let key = action.key();
        match action {
            Action::Start(_, share) => return self.start(key, job, share).await,
            Action::Requeue(_) => {
                self.seen.lost += 1;
                self.change(key, JobEvent::Lose).await?;
            }
            Action::GiveUp(_) => {
                self.seen.given_up += 1;
                self.change(key, JobEvent::Fail(Status::new(Code::Internal, "given up"))).await?;
            }
            Action::Refuse(_, too_large) => {
                self.seen.refused += 1;
                if too_large.needed_bytes <= too_large.limit_bytes {
                    return wrong("it is not too large");
                }
                let status = Status::new(Code::ResourceExhausted, too_large.message());
                self.change(key, JobEvent::Fail(status)).await?;
            }
            Action::Expire(_) => {
                self.seen.expired += 1;
                if self.now_ms - job.waiting_since_ms.unwrap() < limits().wait_max_ms.unwrap() {
                    return wrong("it expired too early");
                }
                self.change(key, JobEvent::Expire(Status::new(Code::DeadlineExceeded, "late"))).await?;
            }
            Action::Stop(_) => {
                if job.state.is_active() {
                    return wrong("nobody asked for it");
                }
                // Two deleted jobs of one name see the same trainer; it may have been killed for the other one.
                let Some(trainer) = self.trainers.get_mut(&place) else { return Ok(true) };
                trainer.stopping = true;
                self.server.stopping.insert(key, self.now_ms);
            }
            Action::Kill(_) => {
                let Some(since_ms) = self.server.stopping.get(&key) else { return wrong("it was not asked") };
                if self.now_ms - since_ms < limits().stop_grace_ms {
                    return wrong("its grace is not over");
                }
                self.seen.killed += 1;
                self.trainers.remove(&place);
            }
            Action::Remove(_) => {
                if self.trainers.contains_key(&place) || job.state != JobState::Deleting {
                    return wrong("it is alive or not deleted");
                }
                self.dirs.remove(&place);
                if self.random.one_in(30) {
                    return Ok(false);
                }
                self.store.job_remove(key).await.map_err(text)?;
                self.known.remove(&key);
                self.seen.removed += 1;
            }
        }
        Ok(true)
    }

    async fn start(&mut self, key: i64, job: &Job, share: Share) -> Result<bool, String> {
        let place = (job.account.clone(), job.id.clone());
        let blocked = self.known.iter().any(|(other, known)| {
            *other != key
                && (&known.job.account, &known.job.id) == (&place.0, &place.1)
                && known.job.state == JobState::Deleting
        });
        if blocked {
            return Err(format!("{} starts in the directory of a deleted job", job.name()));
        }
        if job.estimate == JobEstimate::Waiting {
            return Err(format!("{} starts before it is counted", job.name()));
        }
        if self.server.mistake == Mistake::ForgetsRow && self.random.one_in(40) {
            self.sql("DELETE FROM job WHERE key = ?1", key).await;
            return Ok(true);
        }
        let said = self.dirs.get(&place).map_or(0, |dir| {
            // A run that finished says so again.
            dir.events.len() - usize::from(dir.events.last() == Some(&Said::Finished))
        });
        let report = RunReport { events_read: said as u64, progress: job.progress, ..RunReport::default() };
        self.store.job_follow(key, &report, self.now_ms).await.map_err(text)?;
        let is_here = self.dirs.get(&place).is_some_and(|dir| dir.is_fetched);
        let is_fetcher = self.known[&key].is_remote && !is_here;
        let event = if is_fetcher { JobEvent::Fetch } else { JobEvent::Start };
        let started = self.store.job_start(key, job.state, &event, share, self.now_ms).await.map_err(text)?;
        let known = self.known.get_mut(&key).expect("it is known");
        known.job.events_read = known.job.events_read.max(said as u64);
        known.job.share = share;
        self.expect(key, &event)?;
        if self.known[&key].job != started {
            return Err(format!("started as {started:?} and not as {:?}", self.known[&key].job));
        }
        // Between the row and the process.
        if self.random.one_in(30) {
            return Ok(false);
        }
        self.launch(key, share, is_fetcher)?;
        self.server.alive.get_or_insert_default().insert(key);
        self.server.seen_alive.push(key);
        self.seen.reserved += u32::from(share.is_reserved);
        self.count_overtaking(key)?;
        if self.server.mistake == Mistake::WritesWithoutEvent && self.random.one_in(40) {
            self.sql(
                "UPDATE job SET state = 'RUNNING', record = json_set(record, '$.state', 'RUNNING') WHERE key = ?1",
                key,
            )
            .await;
            self.known.get_mut(&key).unwrap().job.state = JobState::Running;
            self.known.get_mut(&key).unwrap().changes += 1;
        }
        Ok(true)
    }

    async fn change(&mut self, key: i64, event: JobEvent) -> Result<(), String> {
        self.store.job_transition(key, None, &event, self.now_ms).await.map_err(text)?;
        self.expect(key, &event)
    }

    /// Behind the store's back.
    async fn sql(&self, statement: &'static str, key: i64) {
        let url = format!("sqlite://{}", self.dir.path().join("hearth.db").display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query("PRAGMA foreign_keys = ON").execute(&mut connection).await.unwrap();
        sqlx::query(statement).bind(key).execute(&mut connection).await.unwrap();
    }

    /// What was done is not asked for again.
    async fn asks_for_nothing_twice(&mut self, before: &Snapshot, done: &[Action]) -> Result<(), String> {
        let mut views = Vec::new();
        for view_before in &before.jobs {
            let Some(stored) = self.store.job_by_key(view_before.key).await.map_err(text)? else { continue };
            let run = self.run(&stored);
            views.push(JobView::new(stored.key, &stored.job, run));
        }
        let usage = self.store.usage_list().await.map_err(text)?;
        let snapshot = Snapshot { jobs: views, usage, free_memory_bytes: self.free_memory() };
        let again = (self.server.decide)(&snapshot, &limits(), self.now_ms);
        match again.iter().find(|action| done.contains(action)) {
            Some(repeated) => Err(format!("{repeated:?} again, though it was done")),
            None => Ok(()),
        }
    }
}

fn output(job: &Job, now_ms: i64) -> Model {
    let name = &job.settings.output_model;
    Model {
        account: name.account.clone(),
        id: name.id.clone(),
        display_name: String::new(),
        about: ModelAbout::default(),
        upload: None,
        kind: ModelKind::Adapter {
            base_model: job.settings.base_model.clone(),
            r: 8,
            target_modules: vec![],
            fine_tuning_job: job.name(),
        },
        context_length: 2048,
        model_type: "llama".into(),
        imported_from: String::new(),
        created_by: String::new(),
        create_time_ms: now_ms,
        update_time_ms: now_ms,
    }
}
