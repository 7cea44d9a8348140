//! `hearth model`.

mod import;
mod list;
mod logits;
mod pull;
mod rows;

use std::process::ExitCode;

use anyhow::Result;

/// Models: bases to train and the adapters made from them
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  hearth model pull smollm2-135m-instruct")]
pub enum Command {
    Pull(pull::Args),
    Import(import::Args),
    List(list::Args),
    Logits(logits::Args),
    Rows(rows::Args),
}

impl Command {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Pull(args) => args.run(json),
            Self::Import(args) => args.run(json),
            Self::List(args) => args.run(json),
            Self::Logits(args) => args.run(json),
            Self::Rows(args) => args.run(json),
        }
    }
}
