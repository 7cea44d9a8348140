//! `hearth dataset seen`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use hearth_client::RowUses;
use hearth_data::read::{Line, LineReader, MAX_LINE_BYTES};
use hearth_data::source;
use hearth_run::ledger::RowDigest;
use serde_json::json;

use crate::config::Server;
use crate::output;

/// Say which models of the account were made with a row
///
/// The row is that on a line of a file, which stays here: the server is asked for its digest. Models that were made
/// before there were ledgers are not found. With --json:
/// {"row_digest": ..., "uses": [...], "unreadable_models": [...]}.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth dataset seen rows.jsonl --line 7")]
pub struct Args {
    /// File of rows, packed or not
    #[arg(required_unless_present = "digest", requires = "line")]
    file: Option<PathBuf>,
    /// Line of the row, from 1
    #[arg(long, value_name = "N", requires = "file", value_parser = clap::value_parser!(u64).range(1..))]
    line: Option<u64>,
    /// Digest of the row, as `hearth model rows` shows it, in place of a file
    #[arg(long, value_name = "DIGEST", conflicts_with = "file")]
    digest: Option<RowDigest>,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, as_json: bool) -> Result<ExitCode> {
        let digest = match (self.digest, &self.file, self.line) {
            (Some(digest), ..) => digest,
            (None, Some(file), Some(line)) => digest_of(file, line)?,
            _ => bail!("give a file and --line, or --digest"),
        };
        let remote = self.server.connect()?;
        let RowUses { uses, unreadable_models } =
            remote.client.model_find_by_row(&remote.account, &digest.to_string())?;
        if as_json {
            output::json(&json!({
                "row_digest": digest, "uses": uses, "unreadable_models": unreadable_models
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        if uses.is_empty() {
            output::line(&format!("no model of account {} has row {digest} in its ledger", remote.account))?;
        }
        for one in &uses {
            let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            let file = one["file"].as_i64().unwrap_or_default();
            let (model, usage, line) = (text("model"), text("use"), text("line"));
            output::line(&format!("{model}  {usage}  file {file}, line {line}  {}", text("fineTuningJob")))?;
        }
        for model in &unreadable_models {
            output::line(&format!("{model}  not known: its ledger cannot be read"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn digest_of(path: &Path, number: u64) -> Result<RowDigest> {
    let cannot_read = || format!("cannot read {}", path.display());
    let input = source::open(path).with_context(cannot_read)?;
    let mut lines = LineReader::new(input, MAX_LINE_BYTES);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let line = lines.next_line(&mut buffer).with_context(cannot_read)?;
        if line == Line::End {
            bail!("{} has no line {number}", path.display());
        }
        if lines.number() < number {
            continue;
        }
        let row = buffer.trim_ascii();
        if line == Line::TooLong || row.is_empty() {
            bail!("there is no row on line {number} of {}", path.display());
        }
        return Ok(RowDigest::of(row));
    }
}
