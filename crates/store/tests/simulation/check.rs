//! The rules.

use std::collections::{BTreeMap, BTreeSet};

use hearth_domain::{JobEstimate, JobState, ModelRef};

use crate::world::{Known, World, limits, needed};

/// Trainers that may be started for others while a job could have had one: its account's part comes to it.
const PASSED_MAX: u32 = 600;
/// The same for younger jobs of its account: pilots have a head start, and what fits passes what does not for a while,
/// which a clock that was set back makes longer.
const OVERTAKEN_MAX: u32 = 35;
/// Rounds in which a job may stay that has waited too long: its line is looked at from the front, and a trainer that it
/// still has must end first.
const LATE_ROUNDS_MAX: u32 = 25;
/// Steps between two looks at everything.
const STEPS_TO_LOOK: u64 = 250;

impl World {
    /// After each step: what lives, and what is known of it. Now and then everything.
    pub async fn check(&mut self) -> Result<(), String> {
        self.check_now()?;
        if self.step.is_multiple_of(STEPS_TO_LOOK) { self.check_all().await } else { Ok(()) }
    }

    /// What can be seen at once.
    pub fn check_now(&self) -> Result<(), String> {
        self.check_limits()?;
        self.check_states()
    }

    /// Trainers, memory, threads, reservations, quotas and pilots.
    pub fn check_limits(&self) -> Result<(), String> {
        let limits = limits();
        let live = self.trainers.values();
        if self.trainers.len() > limits.capacity {
            return Err(format!("{} trainers live at once", self.trainers.len()));
        }
        let threads: usize = live.clone().map(|one| one.share.threads).sum();
        if threads > limits.threads {
            return Err(format!("trainers have {threads} threads"));
        }
        let pilots = live.clone().filter(|one| one.is_pilot).count();
        if pilots > limits.pilots_max {
            return Err(format!("{pilots} pilots run at once"));
        }
        let mut running: BTreeMap<_, u64> = BTreeMap::new();
        for (place, one) in &self.trainers {
            *running.entry(&place.0).or_default() += 1;
            // One without any has no limit.
            let needed = self.known.get(&one.key).map_or(0, |known| needed(&known.job)).max(1);
            if one.share.memory_bytes < needed {
                return Err(format!("{place:?} needs memory of {needed} and has {}", one.share.memory_bytes));
            }
        }
        if let Some((account, count)) =
            running.iter().find(|(account, count)| **count > limits.running_max.of(account))
        {
            return Err(format!("{count} trainers run for {account}"));
        }
        let mut shared = (limits.capacity, limits.memory_bytes);
        for kept in &limits.reservations {
            shared = (shared.0 - kept.trainers, shared.1 - kept.memory_bytes);
            let inside =
                self.trainers.iter().filter(|(place, one)| one.share.is_reserved && place.0 == kept.account);
            let (count, memory) =
                inside.fold((0, 0), |(count, memory), (_, one)| (count + 1, memory + one.share.memory_bytes));
            if count > kept.trainers || memory > kept.memory_bytes {
                return Err(format!("{count} trainers with memory of {memory} in {}", kept.name()));
            }
        }
        let outside = live.filter(|one| !one.share.is_reserved);
        let (count, memory) =
            outside.fold((0, 0), |(count, memory), one| (count + 1, memory + one.share.memory_bytes));
        if count > shared.0 {
            return Err(format!("{count} trainers in shared capacity, of which others have a part reserved"));
        }
        if memory > shared.1 {
            return Err(format!("trainers in shared capacity have memory of {memory}"));
        }
        Ok(())
    }

    /// A round is over: who has waited too long does not wait much longer.
    pub fn count_late(&mut self) -> Result<(), String> {
        for known in self.known.values_mut() {
            let job = &known.job;
            let waited_ms = self.now_ms - job.waiting_since_ms.unwrap_or(self.now_ms);
            known.late_rounds += u32::from(waited_ms >= limits().wait_max_ms.unwrap());
            if job.state.is_waiting() && known.late_rounds > LATE_ROUNDS_MAX {
                return Err(format!("never expired: {job:?}"));
            }
        }
        Ok(())
    }

    /// Jobs of accounts that are suspended.
    fn check_states(&self) -> Result<(), String> {
        for known in self.known.values() {
            let job = &known.job;
            if self.suspended.contains(&job.account) && (job.state.is_waiting() || job.state.is_active()) {
                return Err(format!("{} goes on though its account is suspended", job.name()));
            }
        }
        Ok(())
    }

    /// Everything stands in the database as it must, with an event for each change.
    pub async fn check_all(&mut self) -> Result<(), String> {
        let all = self.store.job_all().await.map_err(|error| error.to_string())?;
        let there: BTreeSet<i64> = all.iter().map(|stored| stored.key).collect();
        if let Some((_, known)) = self.known.iter().find(|(key, _)| !there.contains(key)) {
            return Err(format!("{} is lost", known.job.name()));
        }
        for stored in &all {
            let known =
                self.known.get(&stored.key).ok_or_else(|| format!("{} came back", stored.job.name()))?;
            if known.job != stored.job {
                return Err(format!("stands there as {:?} and not as {:?}", stored.job, known.job));
            }
            self.check_events(stored.key, known).await?;
            if known.job.state.is_success() {
                let model: &ModelRef = &known.job.settings.output_model;
                self.store.model_get(model).await.map_err(|error| format!("the model is lost: {error}"))?;
            }
        }
        Ok(())
    }

    /// The event log leads from PENDING to the job's state without a gap.
    async fn check_events(&self, key: i64, known: &Known) -> Result<(), String> {
        let events = self.store.job_event_list(key).await.map_err(|error| error.to_string())?;
        let mut state = JobState::Pending.name().to_owned();
        for event in &events {
            if event.from_state != state {
                return Err(format!("event {event:?} does not follow on {state}"));
            }
            state.clone_from(&event.to_state);
        }
        // A page of the log holds a thousand.
        if events.len() != known.changes.min(1000) || (events.len() < 1000 && state != known.job.state.name())
        {
            return Err(format!(
                "{} events up to {state} for {} changes up to {}",
                events.len(),
                known.changes,
                known.job.state
            ));
        }
        Ok(())
    }

    /// A trainer was started: jobs that wait and could have had it were overtaken.
    pub fn count_overtaking(&mut self, started: i64) -> Result<(), String> {
        let limits = limits();
        let mut running: BTreeMap<_, u64> = BTreeMap::new();
        for (place, _) in self.trainers.iter().filter(|(_, one)| one.key != started) {
            *running.entry(place.0.clone()).or_default() += 1;
        }
        let taken: BTreeSet<_> = self
            .known
            .values()
            .filter(|known| known.job.state == JobState::Deleting)
            .map(|known| (known.job.account.clone(), known.job.id.clone()))
            .collect();
        let others = self.trainers.values().filter(|one| one.key != started);
        let pilots = others.filter(|one| one.is_pilot).count();
        let new = &self.known[&started].job;
        let (new, is_reserved) = ((new.account.clone(), new.create_time_ms), new.share.is_reserved);
        let shared_memory =
            limits.memory_bytes - limits.reservations.iter().map(|kept| kept.memory_bytes).sum::<u64>();
        for (key, known) in &mut self.known {
            let job = &known.job;
            let may = running.get(&job.account).copied().unwrap_or(0) < limits.running_max.of(&job.account)
                && !(job.settings.placement.is_pilot && pilots >= limits.pilots_max)
                && !taken.contains(&(job.account.clone(), job.id.clone()))
                && job.estimate != JobEstimate::Waiting
                && needed(job) <= shared_memory;
            if *key == started || !job.state.is_waiting() || !may || is_reserved {
                continue;
            }
            known.passed += 1;
            known.overtaken += u32::from(job.account == new.0 && job.create_time_ms < new.1);
            self.seen.passed_most = self.seen.passed_most.max(known.passed);
            self.seen.overtaken_most = self.seen.overtaken_most.max(known.overtaken);
            if known.overtaken > OVERTAKEN_MAX || known.passed > PASSED_MAX {
                return Err(format!(
                    "jobs starve: {} others and {} younger ones were started before {job:?}",
                    known.passed, known.overtaken
                ));
            }
        }
        Ok(())
    }
}
