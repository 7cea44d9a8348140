//! The server inside this process, for `hearth serve` and for the demo.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hearth_run::Backend;
use hearth_server::{JobsConfig, RunningServer, ServerConfig};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::config::API_KEY_FILE;

/// A running server and the threads that it runs on.
pub struct LocalServer {
    runtime: Runtime,
    server: RunningServer,
    key_path: PathBuf,
}

impl LocalServer {
    /// Defaults for a server of this program, whose new jobs train on `backend`.
    pub fn config(data_dir: &Path, listen: SocketAddr, backend: Backend) -> Result<ServerConfig> {
        let jobs = JobsConfig::of_this_executable().context("cannot find this program's file")?;
        let mut config = ServerConfig::new(data_dir, listen);
        config.jobs = Some(JobsConfig { backend, ..jobs });
        if let Some(bytes) = hearth_train::memory::limit_bytes(None) {
            config.inference_limits.model_bytes = bytes;
        }
        Ok(config)
    }

    /// Starts the server and returns when it listens.
    pub fn start(config: ServerConfig) -> Result<Self> {
        let runtime = Runtime::new().context("cannot start threads")?;
        let (data_dir, listen) = (config.data_dir.clone(), config.listen);
        let server = runtime
            .block_on(hearth_server::serve(config))
            .with_context(|| format!("cannot serve {} on {listen}", data_dir.display()))?;
        Ok(Self { runtime, server, key_path: data_dir.join(API_KEY_FILE) })
    }

    /// Address for clients.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// File with the administrator's key.
    pub fn key_path(&self) -> &Path {
        &self.key_path
    }

    /// The administrator's key, if this start made it.
    pub fn new_key(&self) -> Option<&str> {
        self.server.new_key()
    }

    /// The certificate that clients must trust, if the server has an authority of its own.
    pub fn authority_file(&self) -> Option<PathBuf> {
        self.server.authority_file()
    }

    /// Runs `cleanup` on SIGINT or SIGTERM and ends the process with exit code 130, until the handle is aborted.
    pub fn on_signal(&self, cleanup: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(async {
            if let Ok(mut end) = EndSignals::new() {
                end.wait().await;
                // A cleanup that panics must not keep the process from ending.
                let _ = tokio::task::spawn_blocking(cleanup).await;
                std::process::exit(130);
            }
        })
    }

    /// Waits for what [`LocalServer::on_signal`] started.
    pub fn wait_for(&self, task: JoinHandle<()>) {
        // A task that was aborted has nothing to wait for.
        let _ = self.runtime.block_on(task);
    }

    /// From here on signals wait for [`LocalServer::run_until_signal`] and do not end the process.
    pub fn signals(&self) -> Result<Signals> {
        let _context = self.runtime.enter();
        Signals::new().context("cannot wait for signals")
    }

    /// Waits for SIGINT or SIGTERM, then stops in order; a second signal cuts off what is open. SIGHUP reads the
    /// certificate again. Trainers go on.
    pub fn run_until_signal(self, signals: Signals) {
        let Signals { mut end, mut hangup } = signals;
        let reload = self.server.reload_tls();
        self.runtime.spawn(async move {
            while hangup.recv().await.is_some() {
                match reload() {
                    Ok(()) => tracing::info!("read the certificate again"),
                    Err(error) => tracing::error!(%error, "the certificate stays as it was"),
                }
            }
        });
        self.runtime.block_on(end.wait());
        tracing::info!("stopping when open requests have ended; another signal cuts them off");
        let cut_off = self.server.cut_off();
        self.runtime.spawn(async move {
            end.wait().await;
            cut_off();
        });
        self.stop();
    }

    /// Stops in order. Trainers go on.
    pub fn stop(self) {
        self.runtime.block_on(self.server.shutdown());
    }
}

/// The signals that a server listens to.
pub struct Signals {
    end: EndSignals,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { end: EndSignals::new()?, hangup: signal(SignalKind::hangup())? })
    }
}

/// SIGINT and SIGTERM.
struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next of them.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
