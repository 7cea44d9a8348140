//! What every handler can reach.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use hearth_domain::job::PlacementFacts;
use hearth_domain::schedule::Reservation;
use hearth_domain::{AccountId, DatasetRef, JobId, ModelRef};
use hearth_inference::Service;
use hearth_remote::Services;
use hearth_run::RunDir;
use hearth_store::{Objects, Store, StoreError, UrlSigner};
use tokio::sync::{Mutex, MutexGuard, Notify, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use crate::deployments::Deployments;
use crate::error::ServerError;
use crate::event_streams::EventStreams;
use crate::gateway::dataset_validation_job::Validations;
use crate::jobs::estimate::Estimators;
use crate::limits::{
    ACCOUNT_LOCKS, DATASET_LOCKS, ESTIMATES_MAX, MODEL_LOCKS, RENDER_PREVIEWS_MAX, ROW_SEARCHES_MAX,
    ServerLimits, TEMPLATE_TRIALS_MAX,
};
use crate::listen::Stop;
use crate::metrics::Metrics;
use crate::operations::Operations;
use crate::outgoing::Reach;
use crate::rate::Rates;
use crate::transcode::Transcoder;
use crate::uploads::{UploadPermit, Uploads};

/// Takes in models that were installed or removed on disk. One that cannot be read is for the log alone.
pub(crate) async fn sync_models(store: &Store) -> Result<(), StoreError> {
    for error in store.model_sync().await? {
        tracing::error!(%error, "an installed model cannot be read; it is left out");
    }
    Ok(())
}

/// What the operator chose.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// What URLs begin with.
    pub(crate) public_url: Option<String>,
    /// Limits of requests.
    pub(crate) limits: Arc<ServerLimits>,
    /// Tells when the server stops.
    pub(crate) stop: Stop,
    /// Where buckets are.
    pub(crate) storage: Services,
    /// Names of the regions that jobs may ask for.
    pub(crate) regions: Vec<String>,
    /// Capacity that is kept for accounts.
    pub(crate) reservations: Vec<Reservation>,
    /// Where webhooks may be.
    pub(crate) webhook_reach: Reach,
}

/// One running server. Clones are cheap and share everything.
#[derive(Clone)]
pub struct AppState {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    inference: Service,
    deployments: Deployments,
    wake: Arc<Notify>,
    wake_estimates: Arc<Notify>,
    estimators: Estimators,
    wake_batch: Arc<Notify>,
    addr: SocketAddr,
    settings: Settings,
    transcoder: Transcoder,
    uploads: Uploads,
    render_previews: Arc<Semaphore>,
    row_searches: Arc<Semaphore>,
    estimates: Arc<Semaphore>,
    event_streams: EventStreams,
    template_trials: Arc<Semaphore>,
    validations: Validations,
    operations: Operations,
    rates: Rates,
    metrics: Arc<Metrics>,
    dataset_locks: SharedLocks<DATASET_LOCKS>,
    model_locks: SharedLocks<MODEL_LOCKS>,
    account_locks: SharedLocks<ACCOUNT_LOCKS>,
    model_checks: std::sync::Mutex<HashMap<ModelRef, Arc<Mutex<()>>>>,
}

/// `N` locks for any number of names; some share one.
struct SharedLocks<const N: usize>([Mutex<()>; N]);

impl<const N: usize> SharedLocks<N> {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }

    async fn lock(&self, name: &[&str]) -> MutexGuard<'_, ()> {
        let mut hash = DefaultHasher::new();
        name.hash(&mut hash);
        self.0[(hash.finish() % N as u64) as usize].lock().await
    }
}

impl AppState {
    /// Of an opened store. `wake` is notified when a job was made or changed.
    pub(crate) fn new(
        store: Store,
        inference: Service,
        wake: Arc<Notify>,
        estimators: Estimators,
        addr: SocketAddr,
        settings: Settings,
    ) -> Self {
        let transcoder = Transcoder::new();
        let uploads = Uploads::new(&settings.limits);
        let rates = Rates::new(&settings.limits);
        let metrics = Arc::new(Metrics::new());
        let render_previews = Arc::new(Semaphore::new(RENDER_PREVIEWS_MAX));
        let row_searches = Arc::new(Semaphore::new(ROW_SEARCHES_MAX));
        let deployments = Deployments::new(store.clone(), inference.clone());
        Self {
            inner: Arc::new(Inner {
                store,
                inference,
                deployments,
                wake,
                wake_estimates: Arc::default(),
                estimators,
                wake_batch: Arc::default(),
                addr,
                settings,
                transcoder,
                uploads,
                render_previews,
                row_searches,
                estimates: Arc::new(Semaphore::new(ESTIMATES_MAX)),
                event_streams: EventStreams::default(),
                template_trials: Arc::new(Semaphore::new(TEMPLATE_TRIALS_MAX)),
                validations: Validations::new(),
                operations: Operations::new(),
                rates,
                metrics,
                dataset_locks: SharedLocks::new(),
                model_locks: SharedLocks::new(),
                account_locks: SharedLocks::new(),
                model_checks: std::sync::Mutex::default(),
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

    /// What is kept in memory.
    pub(crate) fn deployments(&self) -> &Deployments {
        &self.inner.deployments
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
        self.inner.settings.public_url.as_deref()
    }

    /// Limits of requests.
    pub(crate) fn limits(&self) -> &ServerLimits {
        &self.inner.settings.limits
    }

    /// Tells when the server stops.
    pub(crate) fn stop(&self) -> &Stop {
        &self.inner.settings.stop
    }

    /// Counts the calls of keys and addresses.
    pub(crate) fn rates(&self) -> &Rates {
        &self.inner.rates
    }

    /// What the server counts.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// Uploads that run.
    pub(crate) fn uploads(&self) -> &Uploads {
        &self.inner.uploads
    }

    pub(crate) fn transcoder(&self) -> &Transcoder {
        &self.inner.transcoder
    }

    /// Lets the runner of batch inference look at its jobs now.
    pub(crate) fn wake_batch(&self) {
        self.inner.wake_batch.notify_one();
    }

    /// What [`AppState::wake_batch`] notifies.
    pub(crate) fn batch_woken(&self) -> &Notify {
        &self.inner.wake_batch
    }

    /// Lets the scheduler look at the jobs now, and whoever says what they take.
    pub(crate) fn wake_scheduler(&self) {
        self.inner.wake.notify_one();
        self.inner.wake_estimates.notify_one();
    }

    /// What [`AppState::wake_scheduler`] notifies, for the scheduler.
    pub(crate) fn scheduler_woken(&self) -> Arc<Notify> {
        Arc::clone(&self.inner.wake)
    }

    /// What it notifies for the loop of estimates.
    pub(crate) fn estimates_woken(&self) -> Arc<Notify> {
        Arc::clone(&self.inner.wake_estimates)
    }

    /// Held while files of a dataset and its record change together. Datasets may share a lock.
    pub(crate) async fn dataset_lock(&self, name: &DatasetRef) -> MutexGuard<'_, ()> {
        self.inner.dataset_locks.lock(&[name.account.as_str(), name.id.as_str()]).await
    }

    /// Held from the look at an account's quotas until what they allow is made. Whoever holds it may take the lock of a
    /// dataset or a model, and not the other way round.
    pub(crate) async fn account_lock(&self, account: &AccountId) -> MutexGuard<'_, ()> {
        self.inner.account_locks.lock(&[account.as_str()]).await
    }

    /// Held while uploaded files of a model and its record change together. Models may share a lock.
    pub(crate) async fn model_lock(&self, name: &ModelRef) -> MutexGuard<'_, ()> {
        self.inner.model_locks.lock(&[name.account.as_str(), name.id.as_str()]).await
    }

    /// Held by the one check of a model that runs: it may take minutes, so no two models share it.
    pub(crate) async fn model_check_lock(&self, name: &ModelRef) -> OwnedMutexGuard<()> {
        let lock = {
            let mut checks = self.inner.model_checks.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for are only known here.
            checks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(checks.entry(name.clone()).or_default())
        };
        lock.lock_owned().await
    }

    /// The queue of checks of datasets.
    pub(crate) fn validations(&self) -> &Validations {
        &self.inner.validations
    }

    /// Long-running operations.
    pub(crate) fn operations(&self) -> &Operations {
        &self.inner.operations
    }

    /// The right to render rows for a preview; RESOURCE_EXHAUSTED when others do.
    pub(crate) fn render_permit(&self) -> Result<OwnedSemaphorePermit, ServerError> {
        Arc::clone(&self.inner.render_previews).try_acquire_owned().map_err(|_| {
            ServerError::ResourceExhausted(format!(
                "{RENDER_PREVIEWS_MAX} previews are being rendered; try again in a moment"
            ))
        })
    }

    /// The right to look through ledgers; RESOURCE_EXHAUSTED when others do.
    pub(crate) fn row_search_permit(&self) -> Result<OwnedSemaphorePermit, ServerError> {
        Arc::clone(&self.inner.row_searches).try_acquire_owned().map_err(|_| {
            ServerError::ResourceExhausted(format!(
                "{ROW_SEARCHES_MAX} searches for rows are going on; try again in a moment"
            ))
        })
    }

    /// The right to try a job's template, as soon as others have done so.
    pub(crate) async fn template_permit(&self) -> OwnedSemaphorePermit {
        let trials = Arc::clone(&self.inner.template_trials);
        trials.acquire_owned().await.expect("this semaphore is never closed")
    }

    /// The right to estimate a job's cost; RESOURCE_EXHAUSTED when others do.
    pub(crate) fn estimate_permit(&self) -> Result<OwnedSemaphorePermit, ServerError> {
        Arc::clone(&self.inner.estimates).try_acquire_owned().map_err(|_| {
            ServerError::ResourceExhausted(
                "another estimate reads its rows; try again when it is done".to_owned(),
            )
        })
    }

    /// Open streams of events.
    pub(crate) fn event_streams(&self) -> &EventStreams {
        &self.inner.event_streams
    }

    /// Where buckets are.
    pub(crate) fn storage_services(&self) -> &Services {
        &self.inner.settings.storage
    }

    /// Where and when jobs of an account may run.
    pub(crate) fn placement(&self, account: &AccountId) -> PlacementFacts {
        let settings = &self.inner.settings;
        let own = settings.reservations.iter().filter(|one| one.account == *account);
        PlacementFacts {
            regions: settings.regions.clone(),
            reservations: own.map(|one| one.id.clone()).collect(),
        }
    }

    /// What jobs will take.
    pub(crate) fn estimators(&self) -> &Estimators {
        &self.inner.estimators
    }

    /// Where webhooks may be.
    pub(crate) fn webhook_reach(&self) -> Reach {
        self.inner.settings.webhook_reach
    }

    /// The right to run one upload or check; RESOURCE_EXHAUSTED when too many run, of this caller or of all.
    pub(crate) fn upload_permit(&self) -> Result<UploadPermit<'_>, ServerError> {
        let note = crate::note::current();
        self.inner.uploads.permit(note.as_ref().and_then(|note| note.holder()).unwrap_or_default())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use hearth_inference::{Cpu, CpuOptions, Limits, Service};
    use hearth_store::Store;
    use tokio::sync::Notify;

    use super::{AppState, Settings};
    use crate::jobs::estimate::Estimators;

    /// Of a new data directory, with nothing running behind it.
    pub(crate) async fn state(dir: &Path) -> AppState {
        let store = Store::open(dir, 0).await.unwrap();
        let cpu = Cpu::new(CpuOptions { threads: 1, ..CpuOptions::default() }).unwrap();
        let inference = Service::start(Arc::new(cpu), Limits::default(), vec![]).unwrap();
        let estimators = Estimators::without_trainer(&store);
        let addr = "127.0.0.1:1".parse().unwrap();
        AppState::new(store, inference, Arc::new(Notify::new()), estimators, addr, Settings::default())
    }
}
