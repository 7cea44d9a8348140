//! The event log of a job. It is written in the transaction of what it tells: nothing is lost, and nothing is told twice.

use hearth_domain::{JobNews, JobNote, JobState};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use tokio::sync::watch;

use super::Store;
use crate::error::StoreError;
use crate::page::parse;

const KIND: &str = "job event";
/// Events of one job that are kept. When there are more, the oldest detail goes: first trainers, evaluations and
/// checkpoints, then the oldest of the rest.
pub const JOB_EVENTS_MAX: u32 = 1000;
/// Longest message that is kept, in bytes.
pub const JOB_EVENT_MESSAGE_MAX_BYTES: usize = 4 << 10;

/// One event of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobEventRow {
    /// Number in the job's log, from 1. None is used twice; those of events that went are missing.
    pub number: u64,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What happened: a name of [`hearth_domain::JobEvent`] or of [`JobNote`].
    pub event: String,
    /// State before.
    pub from_state: String,
    /// State after.
    pub to_state: String,
    /// For people; may be empty.
    pub message: String,
    /// What it tells, if it is no change of the state.
    pub note: Option<JobNote>,
}

/// Which events of a log are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobEventQuery {
    /// Only those behind this number, in the order that is asked for.
    pub after: Option<u64>,
    /// The newest first.
    pub is_newest_first: bool,
    /// This many at most.
    pub most: u32,
}

/// A change of a state.
pub(super) struct Change<'a> {
    pub(super) event: &'static str,
    pub(super) from: JobState,
    pub(super) to: JobState,
    pub(super) message: &'a str,
}

/// Adds a change of a state. Returns its number.
pub(super) async fn append_change(
    tx: &mut Transaction<'static, Sqlite>,
    job_key: i64,
    change: &Change<'_>,
    time_ms: i64,
) -> Result<i64, StoreError> {
    let Change { event, from, to, message } = *change;
    let entry = Entry { time_ms, event, from: from.name(), to: to.name(), message, note: None };
    append(tx, job_key, &entry).await
}

/// Adds what a job tells besides, unless the log has it already.
pub(super) async fn append_news(
    tx: &mut Transaction<'static, Sqlite>,
    job_key: i64,
    state: JobState,
    news: &JobNews,
) -> Result<(), StoreError> {
    let note = serde_json::to_string(&news.note).expect("a note is plain data");
    let message = cut(&news.message);
    if !news.note.is_told_each_time() {
        let told: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM job_event WHERE job_key = ?1 AND note = ?2 AND message = ?3)",
        )
        .bind(job_key)
        .bind(&note)
        .bind(message)
        .fetch_one(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
        if told {
            return Ok(());
        }
    }
    let (event, state) = (news.note.name(), state.name());
    let entry =
        Entry { time_ms: news.time_ms, event, from: state, to: state, message, note: Some(note.as_str()) };
    append(tx, job_key, &entry).await?;
    Ok(())
}

/// What stands in a row.
struct Entry<'a> {
    time_ms: i64,
    event: &'a str,
    from: &'a str,
    to: &'a str,
    message: &'a str,
    note: Option<&'a str>,
}

async fn append(
    tx: &mut Transaction<'static, Sqlite>,
    job_key: i64,
    entry: &Entry<'_>,
) -> Result<i64, StoreError> {
    let (last, count): (i64, i64) =
        sqlx::query_as("SELECT coalesce(max(number), 0), count(*) FROM job_event WHERE job_key = ?1")
            .bind(job_key)
            .fetch_one(&mut **tx)
            .await
            .map_err(StoreError::Database)?;
    let number = last + 1;
    sqlx::query(
        "INSERT INTO job_event (job_key, number, time_ms, event, from_state, to_state, message, note)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(job_key)
    .bind(number)
    .bind(entry.time_ms)
    .bind(entry.event)
    .bind(entry.from)
    .bind(entry.to)
    .bind(cut(entry.message))
    .bind(entry.note)
    .execute(&mut **tx)
    .await
    .map_err(StoreError::Database)?;
    if count >= i64::from(JOB_EVENTS_MAX) {
        // Never the one that was just added: its number must not be used again.
        sqlx::query(
            "DELETE FROM job_event WHERE seq = (
                 SELECT seq FROM job_event WHERE job_key = ?1 AND number < ?2
                 ORDER BY event NOT IN ('started', 'evaluated', 'checkpoint'), number LIMIT 1
             )",
        )
        .bind(job_key)
        .bind(number)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
    }
    Ok(number)
}

/// The beginning of a long message.
pub(super) fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(JOB_EVENT_MESSAGE_MAX_BYTES)]
}

impl Store {
    /// Ends a transaction that changed a job, and tells those who follow jobs.
    pub(super) async fn commit_job(&self, tx: Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        tx.commit().await.map_err(StoreError::Database)?;
        self.jobs_changed.send_replace(());
        Ok(())
    }

    /// Is told whenever a job of this server changed or has a new event.
    pub fn jobs_changed(&self) -> watch::Receiver<()> {
        self.jobs_changed.subscribe()
    }

    /// All events of a job, oldest first.
    pub async fn job_event_list(&self, key: i64) -> Result<Vec<JobEventRow>, StoreError> {
        let all = JobEventQuery { most: JOB_EVENTS_MAX, ..JobEventQuery::default() };
        self.job_event_page(key, &all).await
    }

    /// Some events of a job.
    pub async fn job_event_page(
        &self,
        key: i64,
        query: &JobEventQuery,
    ) -> Result<Vec<JobEventRow>, StoreError> {
        let after = query.after.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let sql = if query.is_newest_first {
            "SELECT * FROM job_event WHERE job_key = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3"
        } else {
            "SELECT * FROM job_event WHERE job_key = ?1 AND number > ?2 ORDER BY number LIMIT ?3"
        };
        let rows = sqlx::query(sql)
            .bind(key)
            .bind(after.unwrap_or(if query.is_newest_first { i64::MAX } else { 0 }))
            .bind(query.most)
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        rows.iter().map(event).collect()
    }

    /// How many events of a job there are.
    pub async fn job_event_count(&self, key: i64) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM job_event WHERE job_key = ?1")
            .bind(key)
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        Ok(count.unsigned_abs())
    }

    /// Adds something to the log of a job, whatever its state. A job that is gone has no log.
    pub async fn job_tell(&self, key: i64, news: &JobNews) -> Result<(), StoreError> {
        let mut tx = self.begin_write().await?;
        if let Some(job) = super::job::find(&mut tx, key).await? {
            append_news(&mut tx, key, job.state, news).await?;
        }
        self.commit_job(tx).await
    }
}

fn event(row: &SqliteRow) -> Result<JobEventRow, StoreError> {
    let number: i64 = row.get("number");
    let note: Option<String> = row.get("note");
    Ok(JobEventRow {
        number: number.unsigned_abs(),
        time_ms: row.get("time_ms"),
        event: row.get("event"),
        from_state: row.get("from_state"),
        to_state: row.get("to_state"),
        message: row.get("message"),
        note: note.map(|text| parse(KIND, &number.to_string(), &text)).transpose()?,
    })
}
