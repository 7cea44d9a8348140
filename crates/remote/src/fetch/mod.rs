//! Brings the rows of a run into its directory, as a process of its own: [`run`].
//!
//! [`Request`] says which rows and what opens them; it comes over a pipe and is never written down. What is to be
//! fetched is listed once (`data/fetch.json`), each file grows as a `.part` and gets its name when it is whole and forced
//! to disk, and `data/fetched.json` comes last. So a process that was killed is followed by one that goes on behind what
//! the first left, as long as the files are those that were listed.

mod file;
mod patience;
mod plan;
mod request;

use std::io::Write;
use std::path::Path;

use hearth_run::{
    EXIT_FAILED, EXIT_LOCKED, EXIT_PAUSED, EventKind, EventWriter, FailureKind, Heartbeat, RunDir, RunError,
};
use tokio::signal::unix::{SignalKind, signal};

pub use plan::{FETCHED_FILE, Fetched};
pub use request::{Part, REQUEST_MAX_BYTES, Request};

use self::patience::Patience;
use self::plan::Plan;
use crate::error::RemoteError;
use crate::folder::{Folder, Retries};

/// Requests are repeated here, not below, so that all failures are counted in one place.
const NO_RETRIES: Retries = Retries { most: 0, timeout: std::time::Duration::ZERO };

/// Why rows cannot be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// They cannot be read.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// They cannot be written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file of the run directory.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The run directory cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl FetchError {
    fn failure(&self) -> FailureKind {
        match self {
            Self::Remote(error) => match error {
                RemoteError::NotFound(_) => FailureKind::NotFound,
                RemoteError::Denied(_) => FailureKind::Denied,
                RemoteError::Changed(_) => FailureKind::Changed,
                RemoteError::Unreachable(_) => FailureKind::Unreachable,
                RemoteError::Invalid(_) => FailureKind::InvalidData,
                RemoteError::Refused(_) => FailureKind::InvalidSetting,
                RemoteError::Internal { .. } => FailureKind::Internal,
            },
            Self::Io { source, .. } | Self::Run(RunError::Io { source, .. }) => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    FailureKind::OutOfResources
                }
                _ => FailureKind::Internal,
            },
            Self::Run(_) => FailureKind::Internal,
        }
    }

    /// For the user. Of causes only this machine's are told: others may repeat what a service was sent.
    fn message(&self) -> String {
        match self {
            Self::Run(RunError::Io { source, .. }) => format!("the rows cannot be fetched: {self}: {source}"),
            Self::Remote(RemoteError::Internal { source, .. }) if source.is::<std::io::Error>() => {
                format!("the rows cannot be fetched: {self}: {source}")
            }
            _ => format!("the rows cannot be fetched: {self}"),
        }
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FetchError {
    let path = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    move |source| FetchError::Io { action, path, source }
}

/// Writes one line to the log, which is standard error. A log that cannot be written stops nothing.
fn log(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Fetches all rows of a run and tells its events. Returns the exit code of the process. SIGTERM ends it; another one
/// goes on.
pub fn run(root: &Path, request: &Request) -> i32 {
    let dir = RunDir::new(root);
    match run_locked(&dir, request) {
        Ok(code) => code,
        Err(FetchError::Run(RunError::Locked { .. })) => {
            log("another process works on this run");
            EXIT_LOCKED
        }
        Err(error) => {
            log(&error.message());
            EXIT_FAILED
        }
    }
}

fn run_locked(dir: &RunDir, request: &Request) -> Result<i32, FetchError> {
    let data = dir.data_path();
    dir.create_dir(&data)?;
    let lock = dir.lock()?;
    let _heartbeat = Heartbeat::start(dir, &lock)?;
    let mut events = EventWriter::open(dir, &lock)?;
    let there = plan::bytes_there(&data);
    events.append(EventKind::Fetching { pid: std::process::id(), bytes: there })?;
    log(&format!("fetching the rows; {there} bytes are there"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RemoteError::internal("starting to fetch", source))?;
    let ended = runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())
            .map_err(|source| RemoteError::internal("waiting for signals", source))?;
        tokio::select! {
            _ = term.recv() => Ok(None),
            fetched = fetch(&data, request) => fetched.map(Some),
        }
    });
    let (event, code) = match ended {
        Ok(Some(fetched)) => {
            log(&format!("fetched {} files, {} bytes", fetched.file_count(), fetched.bytes()));
            (EventKind::Fetched { files: fetched.file_count(), bytes: fetched.bytes() }, 0)
        }
        Ok(None) => {
            log("told to stop");
            (EventKind::Paused { step: 0 }, EXIT_PAUSED)
        }
        Err(error) => {
            if matches!(error, FetchError::Remote(RemoteError::Changed(_))) {
                // What is there is of files that are gone.
                plan::forget(&data);
            }
            log(&error.message());
            (EventKind::Failed { kind: error.failure(), message: error.message() }, EXIT_FAILED)
        }
    };
    events.append(event)?;
    events.sync()?;
    // Requests that still wait end with the process.
    runtime.shutdown_background();
    Ok(code)
}

async fn fetch(data: &Path, request: &Request) -> Result<Fetched, FetchError> {
    if let Some(fetched) = Fetched::read(data)?.filter(|fetched| fetched.covers(&request.parts)) {
        return Ok(fetched);
    }
    let mut patience = Patience::new();
    let mut folders = Vec::new();
    for part in &request.parts {
        let access = (&request.aws, &request.azure);
        let folder = patience
            .insist(async || Folder::open(&request.services, &part.location, access, NO_RETRIES).await);
        folders.push(folder.await?);
    }
    let plan = match Plan::read(data, &request.parts)? {
        Some(plan) => plan,
        None => Plan::make(data, &request.parts, &folders, &mut patience).await?,
    };
    for (part, folder) in plan.parts.iter().zip(&folders) {
        for (index, remote) in part.files.iter().enumerate() {
            let name = part.file_name(index);
            file::fetch(folder, remote, &data.join(&name), &mut patience).await?;
            log(&format!("{name}: {} bytes of {}{}", remote.size_bytes, part.location.root(), remote.key));
        }
    }
    let fetched = plan.fetched();
    fetched.write(data)?;
    Ok(fetched)
}
