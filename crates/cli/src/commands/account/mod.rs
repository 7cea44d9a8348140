//! `hearth account`.

mod create;
mod resume;
mod suspend;

use std::process::ExitCode;

use anyhow::Result;

/// Accounts: owners of datasets, jobs and models
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  hearth account create research")]
pub enum Command {
    Create(create::Args),
    Suspend(suspend::Args),
    Resume(resume::Args),
}

impl Command {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Create(args) => args.run(json),
            Self::Suspend(args) => args.run(json),
            Self::Resume(args) => args.run(json),
        }
    }
}
