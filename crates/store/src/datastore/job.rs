//! Jobs and their event log. Every change is one transaction that reads the row first.

use std::collections::BTreeMap;

use hearth_domain::schedule::{Share, Usage};
use hearth_domain::{
    AccountId, Job, JobEstimate, JobEvent, JobId, JobNews, JobProgress, JobState, Model, ModelRef, Wish,
};
use secrecy::SecretString;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteExecutor, Transaction};

use super::account::must_not_be_suspended;
use super::job_event::{self, Change};
use super::{Store, model, wandb, webhook};
use crate::columns::Listed;
use crate::condition::{Comparator, Condition, Value};
use crate::error::StoreError;
use crate::installed;
use crate::page::{ListPage, ListQuery, Source, insert_error, list, parse, record};

const KIND: &str = "job";
/// What errors call the model that a job makes.
const OUTPUT: &str = "output model";

/// States in which a job does not count as open, as the partial indexes of migration 25 say it word for word.
macro_rules! closed {
    () => {
        "('COMPLETED', 'EARLY_STOPPED', 'FAILED', 'CANCELLED', 'EXPIRED', 'DELETING')"
    };
}
pub(super) use closed;

/// States in which nothing happens to a job by itself.
macro_rules! at_rest {
    () => {
        "('COMPLETED', 'EARLY_STOPPED', 'FAILED', 'CANCELLED', 'EXPIRED', 'PAUSED')"
    };
}

/// A job with the key of its row.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredJob {
    /// Key: unlike the name, never used twice.
    pub key: i64,
    /// The job.
    pub job: Job,
}

/// What a run reported since it was read last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunReport {
    /// Sequence number of the last event of the run that is taken in.
    pub events_read: u64,
    /// How far the run is.
    pub progress: JobProgress,
    /// What it said of its rows, if it said something.
    pub rows_note: Option<String>,
    /// What was wrong with what it went on from, if something was.
    pub run_note: Option<String>,
    /// What it tells besides, in order; each with the number of `events` that stand before it in the log.
    pub notes: Vec<(usize, JobNews)>,
    /// What it means for the job, in order.
    pub events: Vec<JobEvent>,
}

fn not_found(account: &AccountId, id: &JobId) -> StoreError {
    StoreError::NotFound { kind: KIND, name: format!("accounts/{account}/supervisedFineTuningJobs/{id}") }
}

impl Store {
    /// Adds a job. `ALREADY_EXISTS` if the id is taken by a job that is not deleted, or if the model that it is to
    /// make exists or is being made by another job.
    pub async fn job_create(&self, job: &Job) -> Result<StoredJob, StoreError> {
        self.job_create_logged(job, None).await
    }

    /// The same, with the key that its metrics are sent to Weights & Biases with, which is kept encrypted.
    pub async fn job_create_logged(
        &self,
        job: &Job,
        wandb_key: Option<&SecretString>,
    ) -> Result<StoredJob, StoreError> {
        let mut tx = self.begin_write().await?;
        must_not_be_suspended(&mut tx, &job.account).await?;
        self.must_be_free(&mut tx, OUTPUT, &job.settings.output_model, Some(&job.id)).await?;
        let done = sqlx::query(
            "INSERT INTO job (account, id, state, create_time_ms, record, lane) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(job.account.as_str())
        .bind(job.id.as_str())
        .bind(job.state.name())
        .bind(job.create_time_ms)
        .bind(record(job))
        .bind(job.settings.placement.lane())
        .execute(&mut *tx)
        .await
        .map_err(insert_error(KIND, job.name()))?;
        let key = done.last_insert_rowid();
        if let Some(value) = wandb_key {
            let name = wandb::sealed_name(job);
            let sealed = self.keys_in(&mut tx, &name).await?.seal(&name, value);
            wandb::insert(&mut tx, key, &sealed).await?;
        }
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(StoredJob { key, job: job.clone() })
    }

    /// Whether a job that is not at its end will make the model of this name.
    pub async fn job_will_make(&self, model: &ModelRef) -> Result<bool, StoreError> {
        will_make(&self.pool, model, None).await
    }

    /// `ALREADY_EXISTS` if there is a model of this name, installed or being uploaded, or if a job that is not at its end
    /// will make it. The job of the id `except` does not count. `kind` is what the error calls the model.
    pub(super) async fn must_be_free(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        kind: &'static str,
        name: &ModelRef,
        except: Option<&JobId>,
    ) -> Result<(), StoreError> {
        let has_row: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM model WHERE account = ?1 AND id = ?2)")
                .bind(name.account.as_str())
                .bind(name.id.as_str())
                .fetch_one(&mut **tx)
                .await
                .map_err(StoreError::Database)?;
        if has_row || installed::model_dir(&self.data_dir, &name.account, &name.id).exists() {
            return Err(StoreError::AlreadyExists { kind, name: name.to_string() });
        }
        if will_make(&mut **tx, name, except).await? {
            return Err(StoreError::AlreadyExists {
                kind: "a job with output model",
                name: name.to_string(),
            });
        }
        Ok(())
    }

    /// Reads a job that is not deleted.
    pub async fn job_get(&self, account: &AccountId, id: &JobId) -> Result<StoredJob, StoreError> {
        let found: Option<(i64, String)> = sqlx::query_as(
            "SELECT key, record FROM job WHERE account = ?1 AND id = ?2 AND state <> 'DELETING'",
        )
        .bind(account.as_str())
        .bind(id.as_str())
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        let (key, text) = found.ok_or_else(|| not_found(account, id))?;
        Ok(StoredJob { key, job: parse(KIND, id.as_str(), &text)? })
    }

    /// Reads a job by the key of its row, deleted or not. `None` when the row is gone.
    pub async fn job_by_key(&self, key: i64) -> Result<Option<StoredJob>, StoreError> {
        let found: Option<String> = sqlx::query_scalar("SELECT record FROM job WHERE key = ?1")
            .bind(key)
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        let Some(text) = found else { return Ok(None) };
        Ok(Some(StoredJob { key, job: parse(KIND, &key.to_string(), &text)? }))
    }

    /// A page of an account's jobs, without deleted ones.
    pub async fn job_list(
        &self,
        account: &AccountId,
        query: &ListQuery,
    ) -> Result<ListPage<Job>, StoreError> {
        let state = Listed::Job.column("state").expect("jobs have a state");
        let deleting = Value::Text(JobState::Deleting.name().to_owned());
        let shown = Condition::Compare(state, Comparator::NotEqual, deleting);
        let (listed, account) = (Listed::Job, Some(account.as_str()));
        list(self, Source { listed, rows: "job", kind: KIND, account, shown }, query).await
    }

    /// What the scheduler must look at, of all accounts: jobs that run, deleted ones, and of those that wait the
    /// `line_max` oldest of each account and class ([`Placement::lane`](hearth_domain::job::Placement::lane)).
    pub async fn job_unfinished(&self, line_max: usize) -> Result<Vec<StoredJob>, StoreError> {
        let line_max = i64::try_from(line_max).unwrap_or(i64::MAX);
        // Lines are found by leaps through the index, so that long ones cost no more than short ones.
        let rows = sqlx::query(concat!(
            "WITH RECURSIVE line(account, lane) AS (
                 SELECT account, lane FROM (
                     SELECT account, lane FROM job INDEXED BY job_waiting
                     WHERE state IN ('PENDING', 'RE_QUEUEING') ORDER BY account, lane LIMIT 1)
                 UNION ALL
                 SELECT next.account, next.lane FROM line JOIN job AS next ON next.key = (
                     SELECT key FROM job INDEXED BY job_waiting
                     WHERE state IN ('PENDING', 'RE_QUEUEING') AND (account, lane) > (line.account, line.lane)
                     ORDER BY account, lane LIMIT 1)
             )
             SELECT key, id, record FROM job WHERE state NOT IN ",
            at_rest!(),
            " AND state NOT IN ('PENDING', 'RE_QUEUEING')
             UNION ALL
             SELECT job.key, job.id, job.record FROM line JOIN job ON job.key IN (
                 SELECT key FROM job AS one INDEXED BY job_waiting
                 WHERE one.state IN ('PENDING', 'RE_QUEUEING') AND one.account = line.account AND one.lane = line.lane
                 ORDER BY one.create_time_ms, one.key LIMIT ?1)",
        ))
        .bind(line_max)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        stored_jobs(&rows)
    }

    /// How much trainers have worked for accounts, of those for which they have.
    pub async fn usage_list(&self) -> Result<BTreeMap<AccountId, Usage>, StoreError> {
        let rows: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT account, work_ms, time_ms FROM account_usage")
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::Database)?;
        let read = |(account, work_ms, time_ms): (String, i64, i64)| {
            let usage = Usage { work_ms: u64::try_from(work_ms).unwrap_or(0), time_ms };
            Some((AccountId::new(account).ok()?, usage))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Writes down what a job is expected to take. A job that is gone needs it no more.
    pub async fn job_set_estimate(&self, key: i64, estimate: &JobEstimate) -> Result<(), StoreError> {
        let mut tx = self.begin_write().await?;
        match read(&mut tx, key).await {
            Ok(mut job) => {
                job.estimate = estimate.clone();
                write(&mut tx, key, &job).await?;
                tx.commit().await.map_err(StoreError::Database)
            }
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A job that needs this model: one that is not at its end and has it as its base, or that is to go on from it and has
    /// not read it yet.
    pub async fn job_that_needs(&self, model: &ModelRef) -> Result<Option<String>, StoreError> {
        let found: Option<(String, String)> = sqlx::query_as(concat!(
            "SELECT account, id FROM job WHERE state NOT IN ",
            closed!(),
            " AND (record ->> '$.settings.base_model.account' = ?1 AND record ->> '$.settings.base_model.id' = ?2
                   OR record ->> '$.settings.warm_start_from.account' = ?1
                      AND record ->> '$.settings.warm_start_from.id' = ?2
                      AND record ->> '$.progress.total_steps' = 0)
             LIMIT 1",
        ))
        .bind(model.account.as_str())
        .bind(model.id.as_str())
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        Ok(found.map(|(account, id)| format!("accounts/{account}/supervisedFineTuningJobs/{id}")))
    }

    /// All jobs, of all accounts: what a server looks at once, when it starts.
    pub async fn job_all(&self) -> Result<Vec<StoredJob>, StoreError> {
        let rows = sqlx::query("SELECT key, id, record FROM job ORDER BY key").fetch_all(&self.pool).await;
        stored_jobs(&rows.map_err(StoreError::Database)?)
    }

    /// Lets an event happen to a job, by the table of `domain`, and appends it to the job's event log.
    ///
    /// With `expected`, the job must still be in that state: `ABORTED` if it is not. `FAILED_PRECONDITION` if the
    /// table does not have the change.
    pub async fn job_transition(
        &self,
        key: i64,
        expected: Option<JobState>,
        event: &JobEvent,
        now_ms: i64,
    ) -> Result<Job, StoreError> {
        let mut tx = self.begin_write().await?;
        let job = transition(&mut tx, key, expected, event, now_ms).await?;
        self.commit_job(tx).await?;
        Ok(job)
    }

    /// Gives a job its share of the machine and lets [`JobEvent::Start`] or [`JobEvent::Fetch`] happen to it, in one
    /// transaction. The job must still be in the expected state.
    pub async fn job_start(
        &self,
        key: i64,
        expected: JobState,
        event: &JobEvent,
        share: Share,
        now_ms: i64,
    ) -> Result<Job, StoreError> {
        let mut tx = self.begin_write().await?;
        let mut job = read(&mut tx, key).await?;
        job.share = share;
        write(&mut tx, key, &job).await?;
        let job = transition(&mut tx, key, Some(expected), event, now_ms).await?;
        self.commit_job(tx).await?;
        Ok(job)
    }

    /// Grants a user's wish, unless it has taken effect before: then nothing changes. `FAILED_PRECONDITION` if the job
    /// is in no state for it. `ALREADY_EXISTS` if it is to go on, and the model that it is to make exists by now or is being
    /// made by another job.
    pub async fn job_wish(&self, key: i64, wish: Wish, now_ms: i64) -> Result<Job, StoreError> {
        let mut tx = self.begin_write().await?;
        let job = read(&mut tx, key).await?;
        let Some(event) = job.wish(wish)? else { return Ok(job) };
        if event == JobEvent::Resume {
            must_not_be_suspended(&mut tx, &job.account).await?;
            self.must_be_free(&mut tx, OUTPUT, &job.settings.output_model, Some(&job.id)).await?;
        }
        let job = transition(&mut tx, key, None, &event, now_ms).await?;
        self.commit_job(tx).await?;
        Ok(job)
    }

    /// Brings a job to its good end: its model's row and its last state, in one transaction. `event` is
    /// [`JobEvent::Finish`] or [`JobEvent::FinishEarly`], and `output` must be installed.
    pub async fn job_finish(
        &self,
        key: i64,
        event: &JobEvent,
        output: &Model,
        now_ms: i64,
    ) -> Result<Job, StoreError> {
        let mut tx = self.begin_write().await?;
        let job = transition(&mut tx, key, None, event, now_ms).await?;
        model::put(&mut tx, output).await?;
        self.commit_job(tx).await?;
        Ok(job)
    }

    /// Takes in what a run reported, whole or not at all: its events, its progress, and how far it was read.
    ///
    /// A job that no longer runs takes only the last: its run has nothing more to say. One that waits may have been read
    /// further than its run now goes: a power cut took the end, and the next trainer counts on from what is left. An event
    /// that the table does not have in the job's state is an error.
    pub async fn job_follow(&self, key: i64, report: &RunReport, now_ms: i64) -> Result<Job, StoreError> {
        let mut tx = self.begin_write().await?;
        let mut job = read(&mut tx, key).await?;
        let active = job.state.is_active();
        job.events_read = match job.state.is_waiting() {
            true => report.events_read,
            false => job.events_read.max(report.events_read),
        };
        if active {
            job.advance(report.progress, now_ms);
            job.rows_note = report.rows_note.clone().unwrap_or(job.rows_note);
            job.run_note = report.run_note.clone().unwrap_or(job.run_note);
        }
        write(&mut tx, key, &job).await?;
        if active {
            let mut notes = report.notes.iter().peekable();
            for done in 0..=report.events.len() {
                while let Some((_, news)) = notes.next_if(|(before, _)| *before <= done) {
                    job_event::append_news(&mut tx, key, job.state, news).await?;
                }
                if let Some(event) = report.events.get(done) {
                    job = transition(&mut tx, key, None, event, now_ms).await?;
                }
            }
        }
        self.commit_job(tx).await?;
        Ok(job)
    }

    /// Removes the row of a deleted job, with its event log.
    pub async fn job_remove(&self, key: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM job WHERE key = ?1 AND state = 'DELETING'")
            .bind(key)
            .execute(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        Ok(())
    }
}

fn stored_jobs(rows: &[SqliteRow]) -> Result<Vec<StoredJob>, StoreError> {
    rows.iter()
        .map(|row| Ok(StoredJob { key: row.get("key"), job: parse(KIND, row.get("id"), row.get("record"))? }))
        .collect()
}

/// Whether a job that is not at its end will make this model; that of the id `except` does not count.
async fn will_make<'a>(
    database: impl SqliteExecutor<'a>,
    model: &ModelRef,
    except: Option<&JobId>,
) -> Result<bool, StoreError> {
    sqlx::query_scalar(concat!(
        "SELECT EXISTS (SELECT 1 FROM job WHERE account = ?1 AND record ->> '$.settings.output_model.id' = ?2
                        AND id IS NOT ?3 AND state NOT IN ",
        closed!(),
        ")"
    ))
    .bind(model.account.as_str())
    .bind(model.id.as_str())
    .bind(except.map(JobId::as_str))
    .fetch_one(database)
    .await
    .map_err(StoreError::Database)
}

/// Reads a job, if it is there.
pub(super) async fn find(tx: &mut Transaction<'static, Sqlite>, key: i64) -> Result<Option<Job>, StoreError> {
    let text: Option<String> = sqlx::query_scalar("SELECT record FROM job WHERE key = ?1")
        .bind(key)
        .fetch_optional(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
    text.map(|text| parse(KIND, &key.to_string(), &text)).transpose()
}

async fn read(tx: &mut Transaction<'static, Sqlite>, key: i64) -> Result<Job, StoreError> {
    let found = find(tx, key).await?;
    found.ok_or_else(|| StoreError::NotFound { kind: KIND, name: format!("with key {key}") })
}

/// Writes a job that was changed.
pub(super) async fn write(
    tx: &mut Transaction<'static, Sqlite>,
    key: i64,
    job: &Job,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE job SET state = ?2, record = ?3 WHERE key = ?1")
        .bind(key)
        .bind(job.state.name())
        .bind(record(job))
        .execute(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
    Ok(())
}

/// Stops the jobs of an account that wait or run, or lets those go on that were stopped so.
pub(super) async fn set_suspended(
    tx: &mut Transaction<'static, Sqlite>,
    account: &AccountId,
    is_suspended: bool,
    now_ms: i64,
) -> Result<(), StoreError> {
    let (event, states) = match is_suspended {
        true => (
            JobEvent::Suspend,
            concat!(
                "SELECT key FROM job WHERE account = ?1 AND state NOT IN ",
                at_rest!(),
                " AND state <> 'DELETING'"
            ),
        ),
        false => (
            JobEvent::Unsuspend,
            "SELECT key FROM job WHERE account = ?1 AND state = 'PAUSED' AND record ->> '$.is_suspended' = 1",
        ),
    };
    let keys: Vec<i64> = sqlx::query_scalar(states)
        .bind(account.as_str())
        .fetch_all(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
    for key in keys {
        transition(tx, key, None, &event, now_ms).await?;
    }
    Ok(())
}

/// Counts work of a trainer that is over.
async fn usage_add(
    tx: &mut Transaction<'static, Sqlite>,
    account: &AccountId,
    work_ms: u64,
    now_ms: i64,
) -> Result<(), StoreError> {
    let before: Option<(i64, i64)> =
        sqlx::query_as("SELECT work_ms, time_ms FROM account_usage WHERE account = ?1")
            .bind(account.as_str())
            .fetch_optional(&mut **tx)
            .await
            .map_err(StoreError::Database)?;
    let before = before.map_or(Usage::default(), |(work_ms, time_ms)| Usage {
        work_ms: u64::try_from(work_ms).unwrap_or(0),
        time_ms,
    });
    let usage = before.add(work_ms, now_ms);
    sqlx::query(
        "INSERT INTO account_usage (account, work_ms, time_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (account) DO UPDATE SET work_ms = excluded.work_ms, time_ms = excluded.time_ms",
    )
    .bind(account.as_str())
    .bind(i64::try_from(usage.work_ms).unwrap_or(i64::MAX))
    .bind(usage.time_ms)
    .execute(&mut **tx)
    .await
    .map_err(StoreError::Database)?;
    Ok(())
}

async fn transition(
    tx: &mut Transaction<'static, Sqlite>,
    key: i64,
    expected: Option<JobState>,
    event: &JobEvent,
    now_ms: i64,
) -> Result<Job, StoreError> {
    let mut job = read(tx, key).await?;
    let before = job.state;
    if let Some(expected) = expected.filter(|&expected| expected != before) {
        return Err(StoreError::Changed { expected, found: before });
    }
    let active_since_ms = job.active_since_ms;
    job.apply(event, now_ms)?;
    write(tx, key, &job).await?;
    // What an account does in capacity that is kept for it does not count against its part of the rest.
    if let (Some(since_ms), None, false) = (active_since_ms, job.active_since_ms, job.share.is_reserved) {
        let work_ms = u64::try_from(now_ms.saturating_sub(since_ms)).unwrap_or(0);
        usage_add(tx, &job.account, work_ms, now_ms).await?;
    }
    // What the status says now; of the others it is empty or from before.
    let message = match event {
        JobEvent::Fail(_)
        | JobEvent::Expire(_)
        | JobEvent::Pause
        | JobEvent::Interrupt
        | JobEvent::Suspend => job.status.message.as_str(),
        _ => "",
    };
    let change = Change { event: event.name(), from: before, to: job.state, message };
    let number = job_event::append_change(tx, key, &change, now_ms).await?;
    webhook::enqueue(tx, key, &job, &change, number, now_ms).await?;
    match event {
        JobEvent::Delete => wandb::put_key(tx, key, None).await?,
        JobEvent::Resume => wandb::go_on(tx, key, &job, now_ms).await?,
        _ => {}
    }
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a list of states in SQL names this one.
    fn lists(sql: &str, state: JobState) -> bool {
        sql.contains(&format!("'{}'", state.name()))
    }

    #[test]
    fn lists_of_states_are_those_of_the_table() {
        for &state in JobState::ALL {
            assert_eq!(lists(closed!(), state), state.is_final() || state == JobState::Deleting, "{state}");
            assert_eq!(lists(at_rest!(), state), state.is_final() || state == JobState::Paused, "{state}");
        }
        let indexes = include_str!("../../migrations/0025_job_states.sql");
        assert!(indexes.contains(concat!("state NOT IN ", closed!())), "{indexes}");
        assert!(indexes.contains(concat!("state NOT IN ", at_rest!())), "{indexes}");
    }
}
