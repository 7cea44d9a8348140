//! The database: one file of verbs per resource.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hearth_domain::{Account, AccountId};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Sqlite, Transaction};
use tokio::sync::watch;

use crate::durable::create_dir_all;
use crate::error::{StoreError, io_error};
use crate::keyring::SecretKeys;
use crate::lists::{self, Lists};
use crate::objects::Objects;
use crate::sign::UrlSigner;
use crate::uploads::ModelUploads;

mod account;
mod api_key;
mod batch_inference_job;
mod check;
mod dataset;
mod dataset_validation_job;
mod deployment;
mod job;
mod job_event;
mod model;
mod operation;
mod owned;
mod quota;
mod sealed;
mod secret;
mod user;
mod wandb;
mod webhook;

pub use api_key::{FoundKey, NewApiKey};
pub use dataset::NewDataset;
pub use job::{RunReport, StoredJob};
pub use job_event::{JOB_EVENT_MESSAGE_MAX_BYTES, JOB_EVENTS_MAX, JobEventQuery, JobEventRow};
pub use owned::{ListedRecord, Owned};
pub use secret::NewSecret;
pub use user::NewUserId;
pub use wandb::WandbProgress;
pub use webhook::{WEBHOOK_QUEUE_MAX, WebhookAttempt, WebhookDelivery};

/// Connections of one server.
const CONNECTIONS_MAX: u32 = 8;
/// Longest wait for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows, objects and keys of one data directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    lists: Lists,
    objects: Objects,
    uploads: ModelUploads,
    signer: UrlSigner,
    secret_keys: SecretKeys,
    data_dir: PathBuf,
    jobs_changed: watch::Sender<()>,
}

impl Store {
    /// Opens a data directory, brings the schema up to date, and makes what is missing: the directory, the
    /// database, the signing key, and the pseudo-account of the model catalogue.
    pub async fn open(data_dir: &Path, now_ms: i64) -> Result<Self, StoreError> {
        create_dir_all(data_dir)?;
        // Run directories hold absolute paths, since trainers may have another working directory.
        let data_dir = &std::path::absolute(data_dir).map_err(io_error("resolve", data_dir))?;
        let options = SqliteConnectOptions::new()
            .filename(data_dir.join("hearth.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            // A full disk makes SQLite roll a transaction back by itself. The connection would take itself for one that
            // is still in it, for ever.
            .before_acquire(|connection, _| {
                let is_free = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_free) })
            })
            .connect_with(options)
            .await
            .map_err(StoreError::Database)?;
        sqlx::migrate!().run(&pool).await.map_err(StoreError::Migrate)?;
        lists::make_triggers(&pool).await?;
        let store = Self {
            pool,
            lists: Lists::default(),
            objects: Objects::open(&data_dir.join("objects"))?,
            uploads: ModelUploads::new(data_dir.join("uploads")),
            signer: UrlSigner::open(&data_dir.join("signing-key"))?,
            secret_keys: SecretKeys::default(),
            data_dir: data_dir.clone(),
            jobs_changed: watch::Sender::new(()),
        };
        store.make_catalogue_account(now_ms).await?;
        Ok(store)
    }

    /// With these keys for secrets, in place of those in the data directory.
    pub fn with_secret_keys(self, secret_keys: SecretKeys) -> Self {
        Self { secret_keys, ..self }
    }

    async fn make_catalogue_account(&self, now_ms: i64) -> Result<(), StoreError> {
        let id = AccountId::new(Account::CATALOGUE).expect("the catalogue's account has a valid id");
        let account = Account::new(id, "Base models", "", now_ms);
        match self.account_create(&account).await {
            Ok(()) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Uploaded files.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Files of models that are being uploaded.
    pub fn uploads(&self) -> &ModelUploads {
        &self.uploads
    }

    /// Makes and checks signed URLs.
    pub fn signer(&self) -> &UrlSigner {
        &self.signer
    }

    /// The directory that holds everything.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    #[cfg(test)]
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(crate) fn lists(&self) -> &Lists {
        &self.lists
    }

    /// Closes all connections; what was written stays.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that sees one state of the database.
    pub(crate) async fn begin_read(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.pool.begin().await.map_err(StoreError::Database)
    }

    /// A transaction that holds the write lock from its first statement, so that what it reads stays true.
    async fn begin_write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::Database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_transaction_that_the_database_ended_spoils_no_connection() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 1).await.unwrap();
        for _ in 0..2 * CONNECTIONS_MAX {
            let mut tx = store.begin_write().await.unwrap();
            sqlx::query("ROLLBACK").execute(&mut *tx).await.unwrap();
        }
        store.begin_write().await.unwrap().commit().await.unwrap();
    }
}
