//! `hearth fetch-rows`: what the server starts to bring rows from elsewhere into a run directory.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use hearth_remote::fetch::{REQUEST_MAX_BYTES, Request, run};
use rustix::process::Resource;
use zeroize::Zeroizing;

use super::render_template::limit;

/// Bring rows from S3 or Azure into a run directory (the server starts this)
///
/// Reads from standard input, as JSON, which rows are meant and what opens them. SIGTERM ends it with 75; what is there by
/// then stays, and another one goes on behind it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth fetch-rows ~/hearth-data/runs/default/ab12cd34 < request.json")]
pub struct Args {
    /// Directory whose data/ gets the rows
    run_dir: PathBuf,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        // A dump would hold what opens the rows.
        limit(Resource::Core, 0)?;
        // At its full size from the start: growing would leave copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(REQUEST_MAX_BYTES + 1));
        io::stdin().lock().take(REQUEST_MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
        ensure!(text.len() <= REQUEST_MAX_BYTES, "the request is longer than {REQUEST_MAX_BYTES} bytes");
        let request = Request::from_json(&text)?;
        drop(text);
        let code = run(&self.run_dir, &request);
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }
}
