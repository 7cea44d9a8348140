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

pub(crate) use prepare::{TemplateChoice, link_or_copy, own_template};
pub use scheduler::{Executor, JobsConfig, Scheduler, TRAINER_SILENCE_MAX};

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;

use hearth_domain::{AccountId, Code, JobId, Status};
use hearth_proto::gateway::Region;
use hearth_run::RunDir;
use hearth_store::StoreError;

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
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => full_status(doing),
        _ => Status::new(Code::Internal, format!("{doing} failed: {error}")),
    }
}

/// The status of a job that found no room on disk.
fn full_status(doing: &str) -> Status {
    let message = format!("{doing} failed: the server's disk is full; free space and resume the job");
    Status::new(Code::ResourceExhausted, message)
}

/// The status of a job that the store stopped.
fn store_status(doing: &str, error: &StoreError) -> Status {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "{doing} failed");
    match error.code() {
        Code::ResourceExhausted => full_status(doing),
        code => Status::new(code, format!("{doing} failed: {error}")),
    }
}

#[cfg(test)]
mod tests;
