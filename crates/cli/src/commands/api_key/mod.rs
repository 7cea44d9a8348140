//! `hearth api-key`.

mod create;
mod delete;
mod list;

use std::process::ExitCode;

use anyhow::Result;

/// API keys
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  hearth api-key create --account research --email ada@example.org")]
pub enum Command {
    Create(create::Args),
    List(list::Args),
    Delete(delete::Args),
}

impl Command {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Create(args) => args.run(json),
            Self::List(args) => args.run(json),
            Self::Delete(args) => args.run(json),
        }
    }
}
