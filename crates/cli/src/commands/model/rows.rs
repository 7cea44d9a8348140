//! `hearth model rows`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use hearth_client::qualify;
use hearth_run::ledger::{Entry, LEDGER_FILE, LedgerReader, Reason, Usage};
use serde_json::json;

use crate::catalogue::installed_dir;
use crate::config::DataDir;
use crate::output;

/// Show the ledger of a model: what became of each row in the job that made it
///
/// Needs no server. The first line says how many rows were trained on, scored, set aside and left out; each further
/// line is a row. With --json: the lines of the ledger, JSON each, the first with digests of all that the model was
/// made of.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth model rows accounts/default/models/tickets --use dropped")]
pub struct Args {
    /// Model: id, full name, or a directory that holds ledger.jsonl.zst
    model: String,
    /// Account of a model that is given by its id
    #[arg(long, value_name = "ID", default_value = "default")]
    account: String,
    /// Rows of this use alone
    #[arg(long = "use", value_name = "USE")]
    usage: Option<Use>,
    #[command(flatten)]
    data_dir: DataDir,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Use {
    /// Trained on
    Train,
    /// Of a later step than that of the model, which has not seen it
    NotReached,
    /// Scored, of the evaluation dataset
    Eval,
    /// Scored, set aside of the dataset
    CarvedOut,
    /// Left out
    Dropped,
}

impl Use {
    fn is(self, usage: Usage) -> bool {
        usage
            == match self {
                Self::Train => Usage::Train,
                Self::NotReached => Usage::NotReached,
                Self::Eval => Usage::Eval,
                Self::CarvedOut => Usage::CarvedOut,
                Self::Dropped => Usage::Dropped,
            }
    }
}

impl Args {
    pub fn run(self, as_json: bool) -> Result<ExitCode> {
        let path = self.ledger_path()?;
        if !path.exists() {
            bail!("{} has no ledger: Hearth did not train it, or did so long ago", self.model);
        }
        let ledger = LedgerReader::open(&path)?;
        let header = ledger.header().clone();
        if as_json {
            output::json(&json!(header))?;
        } else {
            let counts = header.counts;
            let not_reached = match counts.not_reached {
                0 => String::new(),
                count => format!(" {count} not reached by step {},", header.step.unwrap_or_default()),
            };
            output::line(&format!(
                "{} rows: {} trained on,{not_reached} {} scored of evaluation files, {} set aside, {} left out as longer than {} tokens",
                counts.rows,
                counts.train,
                counts.eval,
                counts.carved_out,
                counts.dropped_too_long,
                header.max_context_length
            ))?;
        }
        for entry in ledger {
            let entry = entry?;
            if self.usage.is_some_and(|usage| !usage.is(entry.usage)) {
                continue;
            }
            if as_json {
                output::json(&json!(entry))?;
            } else {
                let file = header.files.get(entry.file as usize).context("the ledger names no such file")?;
                output::line(&text(file.own_name(), &entry))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn ledger_path(&self) -> Result<PathBuf> {
        let dir = Path::new(&self.model);
        if dir.join(LEDGER_FILE).is_file() {
            return Ok(dir.join(LEDGER_FILE));
        }
        let name = qualify(&self.account, "models", &self.model);
        Ok(installed_dir(&self.data_dir.path()?, &name)?.join(LEDGER_FILE))
    }
}

fn text(file: &str, entry: &Entry) -> String {
    let mut what = entry.usage.as_str().to_owned();
    if let Some(why) = entry.why.map(Reason::as_str) {
        what = format!("{what} ({why})");
    }
    let Entry { line, row, samples, tokens, trained_tokens, too_long, .. } = entry;
    let left_out = if *too_long > 0 { format!(", {too_long} left out") } else { String::new() };
    format!(
        "{file}:{line}  {row}  {what}  samples {samples}{left_out}  tokens {tokens}, trained {trained_tokens}"
    )
}
