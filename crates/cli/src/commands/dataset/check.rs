//! `hearth dataset check`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use hearth_data::{Limits, check_file, source};
use serde_json::json;

use crate::output;

/// Check a file of rows as an upload does, without a server
///
/// Exit code 1 when a row is wrong. With --json: {"rows": N, "error_count": N, "errors": [{"line", "pointer",
/// "message"}]}; lines count from 1, line 0 means the whole file; the first 100 errors are listed.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth dataset check rows.jsonl")]
pub struct Args {
    /// JSONL file
    file: PathBuf,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let cannot_read = || format!("cannot read {}", self.file.display());
        let input = source::open(&self.file).with_context(cannot_read)?;
        let report = check_file(input, Limits::default()).with_context(cannot_read)?;
        if json {
            let found =
                json!({ "rows": report.rows, "error_count": report.error_count, "errors": report.errors });
            output::json(&found)?;
        } else {
            for error in &report.errors {
                output::line(&error.to_string())?;
            }
            output::line(&format!("{} rows, {} errors", report.rows, report.error_count))?;
        }
        Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
