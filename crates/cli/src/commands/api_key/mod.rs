//! `hearth api-key`.

mod create;

use std::process::ExitCode;

use anyhow::Result;

/// API keys
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  hearth api-key create --account research --email ada@example.org")]
pub enum Command {
    Create(create::Args),
}

impl Command {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Create(args) => args.run(json),
        }
    }
}
