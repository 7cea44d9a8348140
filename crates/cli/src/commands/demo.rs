//! `hearth demo`.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::DataDir;
use crate::demo;

/// Show the whole way on this machine: a real base model, real rows, a job, and the tuned model's answers
///
/// Gets the base model if it is not there (98 MB, once), starts a server on a free loopback port with a data
/// directory of its own, trains for a few minutes, and asks base and tuned model questions that were not in the
/// training rows. Exits with 0 only if the tuned model is better by a margin that chance does not give.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth demo --keep")]
pub struct Args {
    /// Leave the server running until Ctrl-C and print how to go on
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    data_dir: DataDir,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        super::start_log("warn");
        demo::run(&self.data_dir.path()?, self.keep, json)
    }
}
