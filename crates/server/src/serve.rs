//! Starting and stopping a server.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::any;
use hearth_domain::{Account, AccountId, KeyRights, TrainingPrices, User, UserId};
use hearth_inference::{Cpu, CpuOptions, Limits, Service};
use hearth_remote::{Endpoint, Services};
use hearth_store::{NewApiKey, NewUserId, SecretKeys, Store, StoreError, installed, write_secret_file};
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::batch::BatchRunner;
use crate::deployments::Deployments;
use crate::error::ServerError;
use crate::gateway::dataset_validation_job::Runner as ValidationRunner;
use crate::health::{GRPC_ROUTE, GrpcHealth};
use crate::jobs::estimate::{self, Estimators};
use crate::jobs::{JobsConfig, Scheduler};
use crate::limits::{
    CLOSED_SECRETS_SHOWN, DATA_DIR_LOCK_INTERVAL, DATA_DIR_LOCK_TIMEOUT, ServerLimits, TLS_RELOAD_INTERVAL,
};
use crate::listen::{Listening, Stop};
use crate::outgoing::Reach;
use crate::state::{AppState, Settings};
use crate::tls::{Tls, TlsConfig};
use crate::wandb::{WANDB_BASE_URL, WandbSender};
use crate::webhooks::WebhookSender;
use crate::{context, gateway, grpc, http, listen, openai, openapi, operations, transcode};

/// File whose lock a server holds while it uses a data directory.
const LOCK_FILE: &str = "server.lock";
/// File that holds the operator's key.
const API_KEY_FILE: &str = "api-key";
/// Connections that wait to be accepted; the system refuses more.
const LISTEN_BACKLOG: u32 = 1024;
/// Account of the operator.
const OPERATOR_ACCOUNT: &str = "default";
/// User of the operator, an admin of that account.
const OPERATOR_USER: &str = "operator";
/// Address of the operator's user.
const OPERATOR_EMAIL: &str = "operator@localhost";

/// What a server needs to start.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Directory that holds everything; made if it is not there.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 is any free one.
    pub listen: SocketAddr,
    /// What signed URLs begin with (`https://example.org`). By default what the client used.
    pub public_url: Option<String>,
    /// Threads that answer chats; 0 is one per core.
    pub inference_threads: usize,
    /// What chats may use.
    pub inference_limits: Limits,
    /// Limits of connections and requests.
    pub limits: ServerLimits,
    /// How the port is encrypted; `None` is not.
    pub tls: Option<TlsConfig>,
    /// Program, with its arguments, that renders chat templates of jobs; see [`Service::start`]. `None` is this
    /// executable with the argument `render-template`.
    pub render_command: Option<Vec<OsString>>,
    /// Where buckets are that models are imported from and jobs read rows of.
    pub storage: Services,
    /// What training costs here.
    pub training_prices: TrainingPrices,
    /// Where Weights & Biases is; [`WANDB_BASE_URL`](crate::WANDB_BASE_URL) is the public service.
    pub wandb_base_url: String,
    /// Whether webhooks may be on this machine or in its networks.
    pub webhook_allow_private: bool,
    /// How jobs run; `None` is [`JobsConfig::of_this_executable`].
    pub jobs: Option<JobsConfig>,
    /// What secrets are encrypted with; by default a key in the data directory.
    pub secret_keys: SecretKeys,
}

impl ServerConfig {
    /// Defaults for everything else.
    pub fn new(data_dir: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen,
            public_url: None,
            inference_threads: 0,
            inference_limits: Limits::default(),
            limits: ServerLimits::default(),
            tls: None,
            render_command: None,
            storage: Services::default(),
            training_prices: TrainingPrices::default(),
            wandb_base_url: WANDB_BASE_URL.to_owned(),
            webhook_allow_private: false,
            jobs: None,
            secret_keys: SecretKeys::default(),
        }
    }
}

/// A server that listens.
pub struct RunningServer {
    addr: SocketAddr,
    new_key: Option<String>,
    tls: Option<Arc<Tls>>,
    shutdown_delay: Duration,
    stop: Stop,
    listener: JoinHandle<()>,
    sweeper: JoinHandle<()>,
    estimates: JoinHandle<()>,
    deployments: Deployments,
    scheduler: Scheduler,
    validations: ValidationRunner,
    batch: BatchRunner,
    wandb: WandbSender,
    webhooks: WebhookSender,
    state: AppState,
    store: Store,
    // Held until the end: it keeps other servers off the directory.
    lock: File,
}

impl RunningServer {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The operator's key, if it was made by this start.
    pub fn new_key(&self) -> Option<&str> {
        self.new_key.as_deref()
    }

    /// Address for clients on this machine.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// The certificate that clients must trust, if the server has an authority of its own.
    pub fn authority_file(&self) -> Option<PathBuf> {
        self.tls.as_ref().and_then(|tls| tls.authority_file())
    }

    /// Something that reads the certificates again. On an error connections get what they got before.
    pub fn reload_tls(&self) -> impl Fn() -> Result<(), ServerError> + Send + use<> {
        let tls = self.tls.clone();
        move || tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// Something that cuts off what a shutdown waits for.
    pub fn cut_off(&self) -> impl FnOnce() + Send + use<> {
        let cut = self.stop.cut.clone();
        move || cut.cancel()
    }

    /// Says that the server is not ready, after the delay stops accepting, lets open requests end within their time,
    /// then closes everything. Trainers go on; the next server finds them.
    pub async fn shutdown(self) {
        self.stop.announced.cancel();
        tokio::select! {
            () = tokio::time::sleep(self.shutdown_delay) => {}
            () = self.stop.cut.cancelled() => {}
        }
        self.stop.draining.cancel();
        if let Err(error) = self.listener.await {
            tracing::error!(%error, "the listener failed");
        }
        self.batch.shutdown().await;
        self.deployments.shutdown().await;
        if let Err(error) = self.sweeper.await {
            tracing::error!(%error, "the sweeper of uploads failed");
        }
        if let Err(error) = self.estimates.await {
            tracing::error!(%error, "the loop of estimates failed");
        }
        self.scheduler.shutdown().await;
        self.validations.shutdown().await;
        self.state.operations().shutdown().await;
        self.wandb.shutdown().await;
        self.webhooks.shutdown().await;
        self.store.close().await;
        drop(self.lock);
    }
}

/// Opens the data directory and serves it until [`RunningServer::shutdown`].
///
/// FAILED_PRECONDITION if another server uses the directory; INTERNAL with its cause if it cannot be used or the
/// address is taken.
pub async fn serve(config: ServerConfig) -> Result<RunningServer, ServerError> {
    let data_dir = &config.data_dir;
    if let Some(url) = &config.public_url {
        check_base_url("public URL", url)?;
    }
    check_base_url("URL of Weights & Biases", &config.wandb_base_url)?;
    // Rows and models are nobody else's; a directory that is there keeps its mode.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|source| ServerError::internal("making the data directory", source))?;
    let lock = lock(data_dir).await?;
    // The address is taken before the key is made: a start that fails could not show it. Connections are accepted
    // only when all is ready, so whoever gets one finds the key file.
    let taking = |source| ServerError::internal("listening on the address", source);
    let socket = bind(config.listen).map_err(taking)?;
    let addr = socket
        .local_addr()
        .map_err(|source| ServerError::internal("reading the address of the listener", source))?;
    let tls = config
        .tls
        .as_ref()
        .map(|tls| Tls::open(tls, data_dir, addr, config.public_url.as_deref()).map(Arc::new))
        .transpose()?;
    let store = Store::open(data_dir, crate::now_ms()).await?.with_secret_keys(config.secret_keys);
    log_closed_secrets(&store).await?;
    let new_key = operator_key(&store, &data_dir.join(API_KEY_FILE)).await?;
    store.dataset_sweep().await?;
    installed::sweep(data_dir)?;
    crate::state::sync_models(&store).await?;
    gateway::model::sweep::orphans(&store).await?;
    let this_executable = |source| ServerError::internal("finding this executable", source);
    let render_command = match config.render_command {
        Some(command) => command,
        None => vec![std::env::current_exe().map_err(this_executable)?.into(), "render-template".into()],
    };
    // Bases of the catalogue are the operator's own; others may be anybody's.
    let trusted_bases_dir = Some(store.data_dir().join("models").join(Account::CATALOGUE));
    let limits = Limits { trusted_bases_dir, ..config.inference_limits };
    let inference = inference(config.inference_threads, limits, render_command)?;
    let wake = Arc::new(Notify::new());
    let mut jobs = match config.jobs {
        Some(jobs) => jobs,
        None => JobsConfig::of_this_executable().map_err(this_executable)?,
    };
    jobs.limits.running_max = config.limits.quotas.running_max();
    let regions = jobs.regions.iter().map(|(name, _)| name.clone()).collect();
    let reservations = jobs.limits.reservations.clone();
    let estimators = Estimators::new(&store, &jobs, config.training_prices).map_err(|source| {
        ServerError::internal("removing what an earlier server left of estimates", source)
    })?;
    let scheduler = Scheduler::start(store.clone(), jobs, config.storage.clone(), Arc::clone(&wake))
        .map_err(|source| ServerError::internal("starting the job scheduler", source))?;
    let shutdown_delay = config.limits.shutdown_delay;
    let (limits, stop) = (Arc::new(config.limits), Stop::default());
    let reach = if config.webhook_allow_private { Reach::Everywhere } else { Reach::Public };
    let settings = Settings {
        public_url: config.public_url,
        limits: Arc::clone(&limits),
        stop: stop.clone(),
        storage: config.storage,
        regions,
        reservations,
        webhook_reach: reach,
    };
    let state = AppState::new(store.clone(), inference, wake, estimators.clone(), addr, settings);
    let validations = ValidationRunner::start(&state).await?;
    let deployments = state.deployments().clone();
    deployments.start().await?;
    operations::resume(&state).await?;
    let listener = socket.listen(LISTEN_BACKLOG).map_err(taking)?;
    if let Some(tls) = tls.clone() {
        tokio::spawn(keep_fresh(tls, stop.draining.clone()));
    }
    let estimates = tokio::spawn(estimate::run(
        estimators,
        state.estimates_woken(),
        state.scheduler_woken(),
        stop.draining.clone(),
    ));
    let sweeper = tokio::spawn(gateway::model::sweep::run(state.clone(), stop.draining.clone()));
    let metrics = Arc::clone(state.metrics());
    let batch = BatchRunner::start(state.clone());
    let wandb = WandbSender::start(store.clone(), &config.wandb_base_url);
    let webhooks = WebhookSender::start(store.clone(), reach);
    let listening =
        Listening { app: router(state.clone()), tls: tls.clone(), limits, metrics, stop: stop.clone() };
    let listener = tokio::spawn(listen::run(listener, listening));
    Ok(RunningServer {
        addr,
        new_key,
        tls,
        shutdown_delay,
        stop,
        listener,
        sweeper,
        estimates,
        deployments,
        scheduler,
        validations,
        batch,
        wandb,
        webhooks,
        state,
        store,
        lock,
    })
}

/// Reads certificates again from time to time: other programs renew files, and the own one ends after a year.
async fn keep_fresh(tls: Arc<Tls>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(TLS_RELOAD_INTERVAL)).await.is_some() {
        let tls = Arc::clone(&tls);
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the certificates stay as they were"),
            Err(error) => tracing::error!(%error, "reading certificates failed"),
        }
    }
}

/// Scheme, host and perhaps a port: paths are appended to it.
fn check_base_url(what: &str, url: &str) -> Result<(), ServerError> {
    let refused = |why| ServerError::FailedPrecondition(format!("the {what} {why}"));
    Endpoint::new(url).map(drop).map_err(refused)
}

/// A socket that has the address and takes no connections yet.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that starts again must not wait for the old one's connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// All that one port answers.
fn router(state: AppState) -> Router {
    // The transcoder limits bodies itself; uploads are longer.
    let rest = transcode::handle.layer(DefaultBodyLimit::disable()).with_state(state.clone());
    let health = GrpcHealth::new(state.clone());
    Router::new()
        .route(grpc::ROUTE, any(grpc::handle))
        .merge(grpc::reflection())
        .route(GRPC_ROUTE, any(move |request| health.handle(request)))
        .merge(http::router())
        .merge(openai::router())
        .merge(openapi::router())
        .fallback_service(rest)
        .layer(axum::middleware::from_fn_with_state(state.clone(), context::layer))
        .with_state(state)
}

fn inference(threads: usize, limits: Limits, render_command: Vec<OsString>) -> Result<Service, ServerError> {
    let cpu = Cpu::new(CpuOptions { threads, ..CpuOptions::default() })
        .map_err(|source| ServerError::internal("starting the threads that answer chats", source))?;
    Service::start(Arc::new(cpu), limits, render_command)
        .map_err(|source| ServerError::internal("starting the thread that batches chats", source))
}

async fn lock(data_dir: &Path) -> Result<File, ServerError> {
    let failed = |source| ServerError::internal("locking the data directory", source);
    let file = File::create(data_dir.join(LOCK_FILE)).map_err(failed)?;
    let locked = async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(DATA_DIR_LOCK_INTERVAL).await,
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
    };
    let other = |_| {
        ServerError::FailedPrecondition(format!(
            "another server uses {}; stop it or give another data directory",
            data_dir.display()
        ))
    };
    tokio::time::timeout(DATA_DIR_LOCK_TIMEOUT, locked).await.map_err(other)??;
    Ok(file)
}

/// Says at the start which secrets will not open, not when a job needs them. Their owners can set them again.
async fn log_closed_secrets(store: &Store) -> Result<(), ServerError> {
    let closed = store.secrets_closed().await?;
    for error in closed.iter().take(CLOSED_SECRETS_SHOWN) {
        tracing::error!(%error, "a secret cannot be used");
    }
    if closed.len() > CLOSED_SECRETS_SHOWN {
        tracing::error!(count = closed.len(), "secrets cannot be used");
    }
    Ok(())
}

/// Makes the operator's account, user and key, unless they are there. The key is written before it is returned.
async fn operator_key(store: &Store, path: &Path) -> Result<Option<String>, ServerError> {
    let now_ms = crate::now_ms();
    let id = AccountId::new(OPERATOR_ACCOUNT).expect("the operator's account has a valid id");
    let account = Account::new(id, "Operator", OPERATOR_EMAIL, now_ms);
    match store.account_create(&account).await {
        Ok(()) | Err(StoreError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let id = UserId::new(OPERATOR_USER).expect("the operator's user has a valid id");
    // A data directory of an earlier build has the key and no user.
    let user = match store.get::<User>(&account.id, id.as_str()).await {
        Err(StoreError::NotFound { .. }) => {
            let make = |id| gateway::user::admin_of(&account, id, now_ms);
            store.user_create(&account.id, NewUserId::Given(id), make).await?
        }
        found => found?,
    };
    if path.exists() {
        return Ok(None);
    }
    let new = NewApiKey {
        user,
        display_name: "operator".to_owned(),
        rights: KeyRights::Operator,
        expire_time_ms: None,
    };
    let (_, secret) = store.api_key_create(new, now_ms).await?;
    write_secret_file(path, format!("{secret}\n").as_bytes())?;
    Ok(Some(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a killed server was just starting lets go of the lock; another server does not.
    #[tokio::test(start_paused = true)]
    async fn a_lock_is_waited_for_and_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).await.unwrap();
        let error = lock(dir.path()).await.unwrap_err().to_string();
        assert!(error.starts_with("another server uses "), "{error}");
        let let_go = async {
            tokio::time::sleep(DATA_DIR_LOCK_TIMEOUT / 2).await;
            drop(held);
        };
        let (locked, ()) = tokio::join!(lock(dir.path()), let_go);
        locked.unwrap();
    }
}
