//! `hearth secret`.

mod create;
mod delete;
mod list;
mod rotate_key;
mod update;

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

/// Collection in resource names.
const COLLECTION: &str = "secrets";
/// Longest value that is read; the server takes less.
const VALUE_MAX_BYTES: u64 = 1 << 20;

/// Secrets: texts that jobs use and nobody reads back
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  hearth secret create s3 --key-name S3_KEY < key.txt")]
pub enum Command {
    Create(create::Args),
    List(list::Args),
    Update(update::Args),
    Delete(delete::Args),
    RotateKey(rotate_key::Args),
}

impl Command {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Create(args) => args.run(json),
            Self::List(args) => args.run(json),
            Self::Update(args) => args.run(json),
            Self::Delete(args) => args.run(json),
            Self::RotateKey(args) => args.run(json),
        }
    }
}

/// Where a value comes from. There is no flag for the value itself: everyone on a machine sees command lines, and
/// shells keep them.
#[derive(clap::Args, Debug)]
struct Value {
    /// File that holds the value; a line end behind it is not a part of it [default: standard input]
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,
}

impl Value {
    fn read(&self) -> Result<String> {
        let text = match &self.value_file {
            Some(path) => Self::read_file(path)?,
            None if std::io::stdin().is_terminal() => {
                bail!(
                    "the value is read from standard input, which is a terminal; pipe it in, or use --value-file"
                )
            }
            None => Self::read_all(std::io::stdin().lock())
                .context("cannot read the value from standard input")?,
        };
        let value = text.strip_suffix('\n').unwrap_or(&text);
        Ok(value.strip_suffix('\r').unwrap_or(value).to_owned())
    }

    fn read_file(path: &Path) -> Result<String> {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::read_all(file).with_context(|| format!("cannot read the value from {}", path.display()))
    }

    fn read_all(from: impl Read) -> Result<String> {
        let mut bytes = Vec::new();
        from.take(VALUE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > VALUE_MAX_BYTES {
            bail!("it is longer than {VALUE_MAX_BYTES} bytes");
        }
        // The error would hold the bytes.
        String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("it is not UTF-8 text"))
    }
}
