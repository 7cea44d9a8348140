//! `hearth user`.

mod create;
mod delete;
mod list;
mod update;

use std::process::ExitCode;

use anyhow::Result;

/// Collection in resource names.
const COLLECTION: &str = "users";

/// Users of an account, whose roles say what their keys may do
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  hearth user create ada@example.org --role read-only")]
pub enum Command {
    Create(create::Args),
    List(list::Args),
    Update(update::Args),
    Delete(delete::Args),
}

impl Command {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Create(args) => args.run(json),
            Self::List(args) => args.run(json),
            Self::Update(args) => args.run(json),
            Self::Delete(args) => args.run(json),
        }
    }
}
