//! `hearth dataset`.

mod check;
mod create;
mod delete;
mod get;
mod list;
mod render;
mod rendering;
mod seen;

use std::process::ExitCode;

use anyhow::Result;

/// Datasets: rows to train on or to evaluate with
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  hearth dataset create tickets rows.jsonl")]
pub enum Command {
    Check(check::Args),
    Render(render::Args),
    Seen(seen::Args),
    Create(create::Args),
    List(list::Args),
    Get(get::Args),
    Delete(delete::Args),
}

impl Command {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Check(args) => args.run(json),
            Self::Render(args) => args.run(json),
            Self::Seen(args) => args.run(json),
            Self::Create(args) => args.run(json),
            Self::List(args) => args.run(json),
            Self::Get(args) => args.run(json),
            Self::Delete(args) => args.run(json),
        }
    }
}
