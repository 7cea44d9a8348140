//! `hearth bench`.

mod train;

use std::process::ExitCode;

use anyhow::Result;

/// Measure the speed of this machine
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  hearth bench train --model smollm2-135m-instruct --tokens 2048")]
pub enum Command {
    Train(train::Args),
}

impl Command {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Train(args) => args.run(json),
        }
    }
}
