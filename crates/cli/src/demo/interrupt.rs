//! Ctrl-C while the demo's job runs: ends the trainer too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hearth_client::Client;
use hearth_run::RunDir;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::local_server::LocalServer;

/// Time that a trainer has to end.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two looks at whether it has.
const CANCEL_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Listens for SIGINT and SIGTERM until [`Interrupt::disarm`].
pub struct Interrupt {
    requested: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Interrupt {
    /// From now on a signal cancels the job and ends the process when the trainer has ended. (The end of the server
    /// alone leaves trainers running, as it should.)
    pub fn arm(server: &LocalServer, client: &Client, job_name: &str, run_dir: RunDir) -> Self {
        let requested = Arc::new(AtomicBool::new(false));
        let (flag, client, job_name) = (Arc::clone(&requested), client.clone(), job_name.to_owned());
        let task = server.on_signal(move || {
            flag.store(true, Ordering::SeqCst);
            cancel(&client, &job_name, &run_dir);
        });
        Self { requested, task }
    }

    /// Goes back to leaving signals to others. If one has come, the process ends here instead.
    pub fn disarm(self, server: &LocalServer) -> Result<()> {
        if self.requested.load(Ordering::SeqCst) {
            server.wait_for(self.task);
            bail!("interrupted");
        }
        self.task.abort();
        Ok(())
    }
}

fn cancel(client: &Client, job_name: &str, run_dir: &RunDir) {
    if client.act(job_name, "cancel", &json!({})).is_err() {
        return;
    }
    let started = Instant::now();
    while started.elapsed() < CANCEL_TIMEOUT && run_dir.is_live().unwrap_or(false) {
        std::thread::sleep(CANCEL_POLL_INTERVAL);
    }
}
