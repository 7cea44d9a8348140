//! `hearth dataset check`.

mod page;
mod text;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use hearth_data::check::{Batching, FixOptions, Fixed, Input, Options, Report, check, fix};
use hearth_data::pack::BatchSize;
use hearth_data::{Limits, Renderer, source};
use hearth_domain::Dataset;
use hearth_domain::job::BATCH_SIZE_SAMPLES_DEFAULT;
use hearth_model::ModelConfig;
use hearth_run::MICRO_BATCH_TOKENS;
use serde_json::json;

use crate::catalogue::installed_dir;
use crate::config::DataDir;
use crate::output;
use crate::written::{ensure_may_write, is_same_file, write};

use super::rendering::Rendering;

/// Check files of rows before they are uploaded, without a server
///
/// Tells what is wrong (errors, exit code 1), what is remarkable (warnings) and what the rows hold. Several files make
/// one dataset; they may be packed by gzip or zstd. With --json: one object with rows, error_count, errors,
/// warning_count, warnings and statistics; an error or a warning has line, pointer, code, message and fix. Lines count
/// from 1, line 0 means the whole file.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  hearth dataset check rows.jsonl --model smollm2-135m-instruct --html report.html"
)]
pub struct Args {
    /// JSONL files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Render and count tokens for this installed model: id, full name, or a model directory
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Evaluation data: checked too, and its rows are looked for in the training data
    #[arg(long, value_name = "FILE")]
    evaluation: Option<PathBuf>,
    /// Longest sample in tokens [default: the model's]
    #[arg(long, value_name = "N", requires = "model", value_parser = clap::value_parser!(u32).range(1..))]
    context_length: Option<u32>,
    /// Samples of a batch
    #[arg(long, value_name = "N", requires = "model", default_value_t = BATCH_SIZE_SAMPLES_DEFAULT as u32, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    #[command(flatten)]
    rendering: Rendering,
    /// Write the report as a page
    #[arg(long, value_name = "PAGE")]
    html: Option<PathBuf>,
    /// Write what can be used of the one FILE: other spellings in this project's form, without bad rows, rows that are
    /// there already, and what is not used
    #[arg(long, value_name = "OUT")]
    fix: Option<PathBuf>,
    #[command(flatten)]
    data_dir: DataDir,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        self.ensure_usable()?;
        let model_dir = match &self.model {
            Some(model) => Some(installed_dir(&self.data_dir.path()?, model)?),
            None => None,
        };
        let renderer = model_dir.as_deref().map(|dir| self.rendering.renderer(dir)).transpose()?;
        let report = self.check(model_dir.as_deref(), renderer.as_ref())?;
        let title = self.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        // What cannot be written is told last: the report is there all the same.
        let page = self
            .html
            .as_ref()
            .map(|path| write(path, |out| Ok(out.write_all(page::page(&report, &title).as_bytes())?)));
        let fixing = self.fix.as_ref().map(|out| self.fix(out, &report, renderer.as_ref())).transpose();
        let fixed = fixing.as_ref().ok().and_then(Option::as_ref);
        if json {
            let mut value = serde_json::to_value(&report)?;
            let fields = value.as_object_mut().context("a report is an object")?;
            fields.insert("statistics".into(), report.numbers());
            if let Some(fixed) = fixed {
                fields.insert("fix".into(), json!(fixed));
            }
            output::json(&value)?;
        } else {
            text::print(&report)?;
            if let Some(fixed) = fixed {
                text::print_fixed(fixed)?;
            }
        }
        page.transpose()?;
        fixing?;
        Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// A dataset has so many files at most, and nothing that is read or written is overwritten.
    fn ensure_usable(&self) -> Result<()> {
        let most = Dataset::FILES_MAX;
        ensure!(
            self.files.len() <= most,
            "a dataset has at most {most} files, these are {}",
            self.files.len()
        );
        let inputs = || self.files.iter().chain(&self.evaluation);
        if let Some(page) = &self.html {
            ensure_may_write("--html", page, inputs())?;
        }
        let Some(out) = &self.fix else { return Ok(()) };
        ensure_may_write("--fix", out, inputs())?;
        ensure!(self.files.len() == 1, "--fix takes one file");
        ensure!(
            self.files[0].is_file(),
            "--fix reads {} twice, and it is no plain file",
            self.files[0].display()
        );
        ensure!(
            !self.html.as_ref().is_some_and(|page| is_same_file(page, out)),
            "--fix and --html would write one file"
        );
        let ending = out.extension().unwrap_or_default();
        ensure!(
            !(ending == "gz" || ending == "zst"),
            "--fix writes plain rows; give a name that ends in .jsonl"
        );
        Ok(())
    }

    fn check(&self, model_dir: Option<&Path>, renderer: Option<&Renderer>) -> Result<Report> {
        let config = model_dir.map(ModelConfig::read).transpose()?;
        let model_context_length = config.map_or(usize::MAX, |config| config.max_position_embeddings);
        let context_length = self.context_length.map_or(model_context_length, |length| length as usize);
        ensure!(
            context_length <= model_context_length,
            "the model's context length is {model_context_length}, shorter than {context_length}"
        );
        let options = Options {
            renderer,
            context_length,
            model_context_length,
            batching: Batching {
                batch_size: BatchSize::Samples(self.batch_size as usize),
                micro_batch_tokens: MICRO_BATCH_TOKENS as usize,
                seed: 0,
            },
            ..Options::default()
        };
        let open =
            |file: &PathBuf| Input::open(file).with_context(|| format!("cannot read {}", file.display()));
        let files = self.files.iter().map(open).collect::<Result<Vec<Input<'_>>>>()?;
        let evaluation = self.evaluation.iter().map(open).collect::<Result<Vec<Input<'_>>>>()?;
        Ok(check(files, evaluation, &options)?)
    }

    fn fix(&self, out: &Path, report: &Report, renderer: Option<&Renderer>) -> Result<Fixed> {
        let file = &self.files[0];
        let input = source::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut fixed = Fixed::default();
        let options = FixOptions::of(report, Limits::default(), renderer);
        write(out, |writer| {
            fixed = fix(input, writer, options)?;
            ensure!(fixed.rows > 0, "no row of {} can be used, so nothing was written", file.display());
            Ok(())
        })?;
        Ok(fixed)
    }
}
