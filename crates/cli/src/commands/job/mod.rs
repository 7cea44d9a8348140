//! `hearth supervised-fine-tuning-job`, short `sftj`.

mod cancel;
mod create;
mod delete;
mod events;
mod get;
mod list;
mod logs;
mod metrics;
mod pause;
mod resume;
mod wait;

use std::process::ExitCode;

use anyhow::Result;
use hearth_client::{Job, qualify};

use crate::config::{Remote, Server};

/// Name of the collection in the API.
pub const COLLECTION: &str = "supervisedFineTuningJobs";

/// Supervised fine-tuning jobs
#[derive(clap::Subcommand, Debug)]
#[command(
    visible_alias = "sftj",
    after_help = "Example:\n  hearth sftj create --dataset tickets --base-model smollm2-135m-instruct --wait"
)]
pub enum Command {
    Create(Box<create::Args>),
    List(list::Args),
    Get(get::Args),
    Cancel(cancel::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Delete(delete::Args),
    Wait(wait::Args),
    Events(events::Args),
    Logs(logs::Args),
    Metrics(metrics::Args),
}

impl Command {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Create(args) => args.run(json),
            Self::List(args) => args.run(json),
            Self::Get(args) => args.run(json),
            Self::Cancel(args) => args.run(json),
            Self::Pause(args) => args.run(json),
            Self::Resume(args) => args.run(json),
            Self::Delete(args) => args.run(json),
            Self::Wait(args) => args.run(json),
            Self::Events(args) => args.run(json),
            Self::Logs(args) => args.run(json),
            Self::Metrics(args) => args.run(json),
        }
    }
}

/// One job, by id or full name.
#[derive(clap::Args, Debug)]
pub struct Target {
    /// Id or full name
    id: String,
    #[command(flatten)]
    server: Server,
}

impl Target {
    /// The server and the job's full name.
    pub fn find(&self) -> Result<(Remote, String)> {
        let remote = self.server.connect()?;
        let name = qualify(&remote.account, COLLECTION, &self.id);
        Ok((remote, name))
    }

    /// The server and the job as it is now.
    pub fn fetch(&self) -> Result<(Remote, Job)> {
        let (remote, name) = self.find()?;
        let job = Job::read(&remote.client, &remote.client.get(&name)?)?;
        Ok((remote, job))
    }
}
