//! What every handler can reach.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hearth_domain::{AccountId, DatasetRef, JobId};
use hearth_inference::Service;
use hearth_run::RunDir;
use hearth_store::{Objects, Store, StoreError, UrlSigner};
use tokio::sync::{Mutex, MutexGuard, Notify, Semaphore, SemaphorePermit};

use crate::error::ServerError;
use crate::limits::{DATASET_LOCKS, UPLOADS_MAX};
use crate::transcode::Transcoder;

/// Takes in models that were installed or removed on disk. One that cannot be read is for the log alone.
pub(crate) async fn sync_models(store: &Store) -> Result<(), StoreError> {
    for error in store.model_sync().await? {
        tracing::error!(%error, "an installed model cannot be read; it is left out");
    }
    Ok(())
}

/// One running server. Clones are cheap and share everything.
#[derive(Clone)]
pub struct AppState {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    inference: Service,
    wake: Arc<Notify>,
    addr: SocketAddr,
    public_url: Option<String>,
    transcoder: Transcoder,
    uploads: Semaphore,
    dataset_locks: [Mutex<()>; DATASET_LOCKS],
}

impl AppState {
    /// Of an opened store. `wake` is notified when a job was made or changed.
    pub(crate) fn new(
        store: Store,
        inference: Service,
        wake: Arc<Notify>,
        addr: SocketAddr,
        public_url: Option<String>,
    ) -> Self {
        let transcoder = Transcoder::new();
        let uploads = Semaphore::new(UPLOADS_MAX);
        let dataset_locks = std::array::from_fn(|_| Mutex::new(()));
        Self {
            inner: Arc::new(Inner {
                store,
                inference,
                wake,
                addr,
                public_url,
                transcoder,
                uploads,
                dataset_locks,
            }),
        }
    }

    /// Rows of the database.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Uploaded files.
    pub fn objects(&self) -> &Objects {
        self.inner.store.objects()
    }

    /// Signs URLs.
    pub fn signer(&self) -> &UrlSigner {
        self.inner.store.signer()
    }

    /// Answers chats.
    pub fn inference(&self) -> &Service {
        &self.inner.inference
    }

    /// The directory that holds everything.
    pub fn data_dir(&self) -> &Path {
        self.inner.store.data_dir()
    }

    /// The run directory of a job, whether it is there or not.
    pub fn run_dir(&self, account: &AccountId, job: &JobId) -> RunDir {
        crate::jobs::run_dir(self.data_dir(), account, job)
    }

    /// Address that the server listens on.
    pub fn addr(&self) -> SocketAddr {
        self.inner.addr
    }

    /// What URLs begin with, if the operator said so.
    pub(crate) fn public_url(&self) -> Option<&str> {
        self.inner.public_url.as_deref()
    }

    pub(crate) fn transcoder(&self) -> &Transcoder {
        &self.inner.transcoder
    }

    /// Lets the scheduler look at the jobs now.
    pub(crate) fn wake_scheduler(&self) {
        self.inner.wake.notify_one();
    }

    /// Held while files of a dataset and its record change together. Datasets may share a lock.
    pub(crate) async fn dataset_lock(&self, name: &DatasetRef) -> MutexGuard<'_, ()> {
        let mut hash = DefaultHasher::new();
        (name.account.as_str(), name.id.as_str()).hash(&mut hash);
        self.inner.dataset_locks[(hash.finish() % DATASET_LOCKS as u64) as usize].lock().await
    }

    /// The right to run one upload or check; RESOURCE_EXHAUSTED when too many run.
    pub(crate) fn upload_permit(&self) -> Result<SemaphorePermit<'_>, ServerError> {
        self.inner.uploads.try_acquire().map_err(|_| {
            ServerError::ResourceExhausted(format!(
                "{UPLOADS_MAX} uploads are running; try again in a moment"
            ))
        })
    }
}
