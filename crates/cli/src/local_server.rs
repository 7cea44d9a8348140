//! The server inside this process, for `hearth serve` and for the demo.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hearth_server::{RunningServer, ServerConfig};
use tokio::runtime::Runtime;

use crate::config::{API_KEY_FILE, read_key_file};

/// A running server and the threads that it runs on.
pub struct LocalServer {
    runtime: Runtime,
    server: RunningServer,
    key_path: PathBuf,
    /// Whether this start made the administrator's key.
    pub is_first_start: bool,
}

impl LocalServer {
    /// Starts the server and returns when it listens.
    pub fn start(data_dir: &Path, listen: SocketAddr) -> Result<Self> {
        std::fs::create_dir_all(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
        let key_path = data_dir.join(API_KEY_FILE);
        let is_first_start = !key_path.exists();
        let runtime = Runtime::new().context("cannot start threads")?;
        let config = ServerConfig::new(data_dir.to_owned(), listen);
        let server = runtime
            .block_on(hearth_server::serve(config))
            .with_context(|| format!("cannot serve on {listen}"))?;
        Ok(Self { runtime, server, key_path, is_first_start })
    }

    /// Address for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.addr())
    }

    /// File with the administrator's key.
    pub fn key_path(&self) -> &Path {
        &self.key_path
    }

    /// The administrator's key.
    pub fn admin_key(&self) -> Result<String> {
        read_key_file(&self.key_path)?.with_context(|| format!("{} holds no key", self.key_path.display()))
    }

    /// Waits for SIGINT or SIGTERM, then stops in order.
    pub fn run_until_signal(self) -> Result<()> {
        self.runtime.block_on(async {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                result = tokio::signal::ctrl_c() => result,
                _ = terminate.recv() => Ok(()),
            }
        })?;
        self.stop()
    }

    /// Stops in order.
    pub fn stop(self) -> Result<()> {
        self.runtime.block_on(self.server.shutdown()).context("the server did not stop in order")?;
        Ok(())
    }
}
