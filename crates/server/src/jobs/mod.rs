//! The jobs behind the gateway: one loop that keeps trainers in line with what the database wants.
//!
//! [`Scheduler`] looks at the unfinished jobs, asks `domain::schedule` what to do, and does it: `fetch` says which rows
//! must be brought from elsewhere, `prepare` writes a run directory, `attempt` starts, watches and stops the process in
//! it, `report` reads its events, `finish` installs what it made. `checkpoint` makes models of what a run saved on its
//! way. `estimate` says what a job will take before it starts. All that must survive stands in the database and in run directories, so a server that dies and
//! starts again goes on where it was; trainers do not notice.

mod attempt;
pub(crate) mod checkpoint;
pub(crate) mod estimate;
mod fetch;
mod finish;
mod prepare;
mod report;
mod rows;
mod scheduler;

pub(crate) use prepare::link_or_copy;
pub use scheduler::{Executor, JobsConfig, Scheduler};

use std::io::{self, ErrorKind};
use std::path::Path;

use hearth_domain::{AccountId, Code, JobId, Status};
use hearth_proto::gateway::Region;
use hearth_run::RunDir;

/// Whether the API has a region of this name.
pub fn is_region(name: &str) -> bool {
    Region::from_str_name(name).is_some_and(|region| region != Region::Unspecified)
}

/// The run directory of a job, whether it is there or not.
pub(crate) fn run_dir(data_dir: &Path, account: &AccountId, job: &JobId) -> RunDir {
    RunDir::new(data_dir.join("runs").join(account.as_str()).join(job.as_str()))
}

/// The status of a job that the file system stopped: what was tried is for the user, where it failed is for the log.
fn io_status(doing: &str, path: &Path, error: &io::Error) -> Status {
    tracing::error!(path = %path.display(), %error, "{doing} failed");
    let code = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::ResourceExhausted,
        _ => Code::Internal,
    };
    Status::new(code, format!("{doing} failed: {error}"))
}

#[cfg(test)]
mod tests;
