//! Runs of Weights & Biases that jobs write: their keys, encrypted, and how much of each was sent.

use hearth_domain::secret::Sealed;
use hearth_domain::{Job, JobNews, JobNote, JobState};
use secrecy::SecretString;
use sqlx::{Row, Sqlite, Transaction};

use super::{Store, StoredJob, job, job_event};
use crate::error::StoreError;
use crate::page::{parse, record};

const KIND: &str = "run of Weights & Biases";

/// How much of a run was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WandbProgress {
    /// Rows of the history.
    pub rows_sent: u64,
    /// Step of the last of them; `None` before the first.
    pub last_step: Option<u64>,
    /// Rows of the system's figures.
    pub figures_sent: u64,
}

/// What the key of a job is bound to.
pub(super) fn sealed_name(job: &Job) -> String {
    format!("{}/wandb", job.name())
}

/// Makes the run of a job that is being made.
pub(super) async fn insert(
    tx: &mut Transaction<'static, Sqlite>,
    job_key: i64,
    sealed: &Sealed,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO wandb_run (job_key, sealed) VALUES (?1, ?2)")
        .bind(job_key)
        .bind(record(sealed))
        .execute(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
    Ok(())
}

/// Changes the encrypted key; `None` removes it.
pub(super) async fn put_key(
    tx: &mut Transaction<'static, Sqlite>,
    job_key: i64,
    sealed: Option<&Sealed>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE wandb_run SET sealed = ?2 WHERE job_key = ?1")
        .bind(job_key)
        .bind(sealed.map(record))
        .execute(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
    Ok(())
}

/// Lets the run of a job that is resumed go on. If the key went, the job's log says that it does not.
pub(super) async fn go_on(
    tx: &mut Transaction<'static, Sqlite>,
    job_key: i64,
    job: &Job,
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE wandb_run SET end_told_ms = NULL WHERE job_key = ?1")
        .bind(job_key)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
    let ended: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM wandb_run WHERE job_key = ?1 AND sealed IS NULL)")
            .bind(job_key)
            .fetch_one(&mut **tx)
            .await
            .map_err(StoreError::Database)?;
    if !ended {
        return Ok(());
    }
    let message = "the job goes on, but not its run of Weights & Biases: the key is not kept any more";
    let news = JobNews { time_ms: now_ms, note: JobNote::Warning, message: message.to_owned() };
    job_event::append_news(tx, job_key, job.state, &news).await
}

/// All keys that are kept, with the jobs that they belong to.
pub(super) async fn keys_in(
    tx: &mut Transaction<'static, Sqlite>,
) -> Result<Vec<(i64, String, Sealed)>, StoreError> {
    let rows: Vec<(i64, String, String)> = sqlx::query_as(
        "SELECT job.key, job.record, sealed FROM wandb_run JOIN job ON job.key = job_key
         WHERE sealed IS NOT NULL ORDER BY job.key",
    )
    .fetch_all(&mut **tx)
    .await
    .map_err(StoreError::Database)?;
    rows.into_iter()
        .map(|(key, text, sealed)| {
            let job: Job = parse("job", &key.to_string(), &text)?;
            Ok((key, sealed_name(&job), parse(KIND, &key.to_string(), &sealed)?))
        })
        .collect()
}

impl Store {
    /// The jobs whose runs are being sent, by the keys of their rows, with their states.
    pub async fn wandb_open(&self) -> Result<Vec<(i64, JobState)>, StoreError> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT job.key, job.state FROM wandb_run JOIN job ON job.key = job_key
             WHERE sealed IS NOT NULL AND end_told_ms IS NULL ORDER BY job.key",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        let state = |name: &str| JobState::ALL.iter().copied().find(|state| state.name() == name);
        Ok(rows.iter().filter_map(|(key, name)| Some((*key, state(name)?))).collect())
    }

    /// How much of a job's run was sent; `None` if it has none.
    pub async fn wandb_progress(&self, key: i64) -> Result<Option<WandbProgress>, StoreError> {
        let row = sqlx::query("SELECT rows_sent, last_step, figures_sent FROM wandb_run WHERE job_key = ?1")
            .bind(key)
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        Ok(row.map(|row| WandbProgress {
            rows_sent: row.get::<i64, _>("rows_sent").unsigned_abs(),
            last_step: row.get::<Option<i64>, _>("last_step").map(i64::unsigned_abs),
            figures_sent: row.get::<i64, _>("figures_sent").unsigned_abs(),
        }))
    }

    /// The key of a job's run; `None` when nothing more is sent. `FAILED_PRECONDITION` if it does not open.
    pub async fn wandb_key(&self, stored: &StoredJob) -> Result<Option<SecretString>, StoreError> {
        let mut tx = self.begin_write().await?;
        let sealed: Option<Option<String>> =
            sqlx::query_scalar("SELECT sealed FROM wandb_run WHERE job_key = ?1")
                .bind(stored.key)
                .fetch_optional(&mut *tx)
                .await
                .map_err(StoreError::Database)?;
        let Some(text) = sealed.flatten() else { return Ok(None) };
        let sealed: Sealed = parse(KIND, &stored.key.to_string(), &text)?;
        let name = sealed_name(&stored.job);
        let keys = self.secret_keys.read(&self.data_dir)?;
        let opened = keys.and_then(|keys| keys.open(&name, &sealed).ok());
        opened.map(Some).ok_or_else(|| StoreError::WrongState {
            kind: KIND,
            name,
            message: "has its key encrypted with a key that is not there any more",
        })
    }

    /// Takes down where the service has a job's run.
    pub async fn wandb_begun(&self, key: i64, entity: &str, url: &str) -> Result<(), StoreError> {
        let mut tx = self.begin_write().await?;
        let Some(mut job) = job::find(&mut tx, key).await? else { return Ok(()) };
        let Some(wandb) = &mut job.settings.wandb else { return Ok(()) };
        if (wandb.entity.as_str(), wandb.url.as_str()) == (entity, url) {
            return Ok(());
        }
        (wandb.entity, wandb.url) = (entity.to_owned(), url.to_owned());
        job::write(&mut tx, key, &job).await?;
        self.commit_job(tx).await
    }

    /// Takes down what the service has taken in.
    pub async fn wandb_sent(&self, key: i64, progress: &WandbProgress) -> Result<(), StoreError> {
        let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        sqlx::query(
            "UPDATE wandb_run SET rows_sent = ?2, last_step = ?3, figures_sent = ?4 WHERE job_key = ?1",
        )
        .bind(key)
        .bind(int(progress.rows_sent))
        .bind(progress.last_step.map(int))
        .bind(int(progress.figures_sent))
        .execute(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        Ok(())
    }

    /// Ends the sending until the job is resumed: the service was told of its end. Nothing happens if the job is resumed
    /// already.
    pub async fn wandb_end_told(&self, key: i64, ended: &Job, now_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.begin_write().await?;
        let end = |job: &Job| (job.state, job.completed_time_ms);
        if job::find(&mut tx, key).await?.is_none_or(|job| end(&job) != end(ended)) {
            return Ok(());
        }
        sqlx::query("UPDATE wandb_run SET end_told_ms = ?2 WHERE job_key = ?1")
            .bind(key)
            .bind(now_ms)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::Database)?;
        tx.commit().await.map_err(StoreError::Database)
    }

    /// Removes the keys of jobs whose end was told before a time, and which nobody resumed.
    pub async fn wandb_forget(&self, before_ms: i64) -> Result<(), StoreError> {
        let there: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM wandb_run WHERE sealed IS NOT NULL AND end_told_ms < ?1)",
        )
        .bind(before_ms)
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        if there {
            sqlx::query("UPDATE wandb_run SET sealed = NULL WHERE end_told_ms < ?1")
                .bind(before_ms)
                .execute(&self.pool)
                .await
                .map_err(StoreError::Database)?;
        }
        Ok(())
    }

    /// Ends the sending: the key is removed.
    pub async fn wandb_done(&self, key: i64) -> Result<(), StoreError> {
        let mut tx = self.begin_write().await?;
        put_key(&mut tx, key, None).await?;
        tx.commit().await.map_err(StoreError::Database)
    }
}
