//! `hearth train`: what the server starts for each run of a job.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

/// Train a run directory (the server starts this; it can also be run by hand)
///
/// Goes on from the last checkpoint if there is one. SIGTERM writes a checkpoint and exits with 75.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth train ~/.local/share/hearth/runs/default/ab12cd34")]
pub struct Args {
    /// Directory with job.json
    run_dir: PathBuf,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let code = hearth_train::run(&self.run_dir, hearth_train::TrainOptions::default());
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }
}
