//! `hearth bench train`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use hearth_train::bench::{PartReport, Parts, Tokens, TrainBench, train};

use super::{CpuArgs, DEFAULT_MODEL, decimal};
use crate::catalogue::installed_dir;
use crate::commands::BackendArg;
use crate::config::DataDir;
use crate::output;

/// Measure optimiser steps, on random tokens or on rows
///
/// Needs no server. With --json, the last line is one JSON object: tokens_per_second, step times, peak_rss_bytes,
/// the time of each part, operations per token, the share of the machine's ceiling, and what was measured.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth bench train --model smollm2-135m-instruct --tokens 2048 --json")]
pub struct Args {
    /// Installed model: id, full name, or a model directory
    #[arg(long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    model: String,
    /// Random tokens of one step
    #[arg(long, value_name = "N", default_value_t = 2048)]
    tokens: usize,
    /// Tokens per sequence; 0 means one sequence of all tokens
    #[arg(long, value_name = "N", default_value_t = 0)]
    sequence_length: usize,
    /// Rows of a dataset instead of random tokens, eight a step
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tokens", "sequence_length"])]
    rows: Option<PathBuf>,
    /// Tokens of a micro-batch at most, as the trainer packs; 0 means its default
    #[arg(long, value_name = "N", default_value_t = 0)]
    micro_batch_tokens: usize,
    /// Measured steps
    #[arg(long, value_name = "N", default_value_t = 5)]
    steps: u32,
    /// Measure evaluation: the loss alone
    #[arg(long)]
    forward: bool,
    /// LoRA rank, on all linear layers
    #[arg(long, value_name = "N", default_value_t = 8)]
    lora_rank: usize,
    /// Backend
    #[arg(long, value_enum, default_value = "cpu")]
    backend: BackendArg,
    #[command(flatten)]
    cpu: CpuArgs,
    #[command(flatten)]
    data_dir: DataDir,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let model_dir = installed_dir(&self.data_dir.path()?, &self.model)?;
        let tokens = match self.rows {
            Some(path) => Tokens::Rows(path),
            None => Tokens::Random { count: self.tokens, sequence_length: self.sequence_length },
        };
        let report = train(
            &model_dir,
            &TrainBench {
                tokens,
                micro_batch_tokens: self.micro_batch_tokens,
                steps: self.steps,
                forward: self.forward,
                rank: self.lora_rank,
                backend: self.backend.into(),
                isa: self.cpu.isa,
                precision: self.cpu.precision.into(),
                threads: self.cpu.threads,
            },
        )?;
        let mut value = serde_json::to_value(&report)?;
        if !json && let Some(fields) = value.as_object_mut() {
            fields.remove("parts");
        }
        output::resource(json, &value)?;
        if !json {
            output::line("")?;
            output::table(&["PART", "SECONDS", "% OF STEP", "GFLOP/S"], &part_rows(&report.parts))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn part_rows(parts: &Parts) -> Vec<Vec<String>> {
    let row = |name: &str, part: &PartReport| {
        let rate =
            if part.flop_per_second > 0.0 { decimal(part.flop_per_second / 1e9) } else { String::new() };
        vec![name.to_owned(), format!("{:.4}", part.seconds), decimal(part.share * 100.0), rate]
    };
    vec![
        row("gemm", &parts.gemm),
        row("attention", &parts.attention),
        row("loss", &parts.loss),
        row("elementwise", &parts.elementwise),
        row("optimiser", &parts.optimiser),
        row("data", &parts.data),
        row("other", &parts.other),
    ]
}
