//! `hearth dataset render`.

mod page;
mod terminal;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use hearth_data::read::Line;
use hearth_data::render::Piece;
use hearth_data::{Finding, Limits, Rendered, Renderer, read, source};
use hearth_model::ModelConfig;
use serde_json::{Value, json};

use crate::catalogue::installed_dir;
use crate::config::DataDir;
use crate::output;
use crate::written::{ensure_may_write, write};

use super::rendering::Rendering;

/// Most rows of one call.
const ROWS_MAX: usize = 1_000;
/// Rows that are shown if nobody says which.
const ROWS_DEFAULT: usize = 3;

/// Show rows as the exact tokens that training gets, with the loss weight of each, without a server
///
/// A job makes its samples with the same code. What is learnt is shown bold on green, or between ⟦ and ⟧ without
/// colours; neighbouring tokens differ in shade. Exit code 1 when a row cannot be used. With --json: {"rows": [{"line",
/// "samples": [{"tokens", "weights", "text"}], "too_long", "errors", "warnings"}]}.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth dataset render rows.jsonl --model smollm2-135m-instruct --row 7")]
pub struct Args {
    /// JSONL file, as it is or packed by gzip or zstd
    file: PathBuf,
    /// Installed base model: id, full name, or a model directory
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Line of the row to show [default: the first 3 rows]
    #[arg(long, value_name = "LINE", conflicts_with = "rows")]
    row: Option<u64>,
    /// How many rows to show, from the first on
    #[arg(long, value_name = "N", default_value_t = ROWS_DEFAULT)]
    rows: usize,
    /// Longest sample, in tokens; longer ones are left out of training [default: the model's context]
    #[arg(long, value_name = "TOKENS")]
    context_length: Option<usize>,
    #[command(flatten)]
    rendering: Rendering,
    /// Write a page to look at in a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    data_dir: DataDir,
}

/// A row, and what becomes of it.
struct Shown {
    line: u64,
    samples: Vec<Vec<Piece>>,
    too_long: Vec<usize>,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        if !(1..=ROWS_MAX).contains(&self.rows) {
            bail!("--rows must be between 1 and {ROWS_MAX}");
        }
        if let Some(page) = &self.html {
            ensure_may_write("--html", page, [&self.file])?;
        }
        let dir = installed_dir(&self.data_dir.path()?, &self.model)?;
        let renderer = self.rendering.renderer(&dir)?;
        let most = ModelConfig::read(&dir)?.max_position_embeddings;
        let context_length = self.context_length.unwrap_or(most);
        if !(1..=most).contains(&context_length) {
            bail!("--context-length must be between 1 and {most}, the model's");
        }
        let shown = self.shown(&renderer, context_length)?;
        if let Some(path) = &self.html {
            let title = format!("{} for {}", self.file.display(), self.model);
            let page = page::page(&title, &shown, context_length);
            write(path, |out| Ok(out.write_all(page.as_bytes())?))?;
        }
        if json {
            output::json(&json!({ "rows": shown.iter().map(Shown::to_json).collect::<Vec<_>>() }))?;
        } else if let Some(path) = &self.html {
            output::line(&format!("{} rows written to {}", shown.len(), path.display()))?;
        } else {
            shown.iter().try_for_each(|row| terminal::print(row, context_length))?;
        }
        let is_bad = shown.iter().any(|row| !row.errors.is_empty());
        Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Reads up to the last row that is asked for.
    fn shown(&self, renderer: &Renderer, context_length: usize) -> Result<Vec<Shown>> {
        let cannot_read = || format!("cannot read {}", self.file.display());
        let limits = Limits::default();
        let input = source::open(&self.file).with_context(cannot_read)?;
        let mut lines = read::LineReader::new(input, limits.line_bytes);
        let mut shown = Vec::new();
        let mut buffer = Vec::new();
        while self.row.is_some() || shown.len() < self.rows {
            buffer.clear();
            let line = match lines.next_line(&mut buffer) {
                Ok(line) => line,
                Err(error) => match source::finding(&error) {
                    Some(finding) => bail!("{}: {finding}", self.file.display()),
                    None => return Err(error).with_context(cannot_read),
                },
            };
            let number = lines.number();
            let is_asked = self.row.is_none_or(|row| row == number);
            let row = match line {
                Line::End => break,
                _ if !is_asked => continue,
                Line::TooLong => Err(read::too_long(number, limits).into()),
                Line::Whole if buffer.trim_ascii().is_empty() => {
                    if self.row.is_some() {
                        bail!("line {number} of {} is blank", self.file.display());
                    }
                    continue;
                }
                Line::Whole => read::parse_row(number, &buffer),
            };
            let rendered = row.and_then(|row| Ok(renderer.render(&row, context_length)?));
            shown.push(match rendered {
                Ok(Rendered { samples, too_long, left_out }) => {
                    let samples =
                        samples.iter().map(|sample| renderer.pieces(sample)).collect::<Result<_, _>>()?;
                    Shown { line: number, samples, too_long, errors: Vec::new(), warnings: left_out }
                }
                Err(bad) => {
                    let errors = bad.into_findings();
                    Shown { line: number, samples: vec![], too_long: vec![], errors, warnings: vec![] }
                }
            });
            if self.row.is_some() {
                return Ok(shown);
            }
        }
        match self.row {
            Some(row) => {
                bail!("{} has {} lines; there is no line {row}", self.file.display(), lines.number())
            }
            None => Ok(shown),
        }
    }
}

impl Shown {
    fn to_json(&self) -> Value {
        let sample = |pieces: &Vec<Piece>| {
            let ids: Vec<u32> = pieces.iter().flat_map(|piece| &piece.tokens).copied().collect();
            let weights: Vec<f32> =
                pieces.iter().flat_map(|piece| piece.tokens.iter().map(|_| piece.weight)).collect();
            let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
            json!({ "tokens": ids, "weights": weights, "text": text })
        };
        json!({
            "line": self.line,
            "samples": self.samples.iter().map(sample).collect::<Vec<_>>(),
            "too_long": self.too_long,
            "errors": self.errors,
            "warnings": self.warnings,
        })
    }

    /// What is said of the row, one sentence a line.
    fn sentences(&self, context_length: usize) -> Vec<String> {
        let mut sentences: Vec<String> =
            self.errors.iter().map(|error| format!("cannot be used: {error}")).collect();
        sentences.extend(self.too_long.iter().map(|tokens| {
            format!(
                "left out: {} of {tokens} tokens is longer than {context_length}",
                if self.samples.is_empty() && self.too_long.len() == 1 { "the sample" } else { "a sample" }
            )
        }));
        sentences.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        sentences
    }
}

/// Tokens of a sample, and those that are learnt.
fn counts(pieces: &[Piece]) -> (usize, usize) {
    let count = |pieces: &mut dyn Iterator<Item = &Piece>| pieces.map(|piece| piece.tokens.len()).sum();
    (count(&mut pieces.iter()), count(&mut pieces.iter().filter(|piece| piece.weight > 0.0)))
}
