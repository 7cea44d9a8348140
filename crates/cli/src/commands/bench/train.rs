//! `hearth bench train`.

use std::process::ExitCode;

use anyhow::Result;
use hearth_run::Precision;
use hearth_train::bench::{BenchOptions, bench};

use crate::catalogue::installed_dir;
use crate::config::DataDir;
use crate::output;

/// Measure the optimiser step on random tokens
///
/// Needs no server. With --json, the last line is one JSON object: tokens_per_second, step_seconds_median,
/// peak_rss_bytes and what was measured.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth bench train --model smollm2-135m-instruct --tokens 2048 --json")]
pub struct Args {
    /// Installed model: id, full name, or a model directory
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Tokens of one step
    #[arg(long, value_name = "N", default_value_t = 2048)]
    tokens: usize,
    /// Measured steps
    #[arg(long, value_name = "N", default_value_t = 5)]
    steps: u32,
    /// LoRA rank, on all seven linear layers
    #[arg(long, value_name = "N", default_value_t = 8)]
    lora_rank: usize,
    /// Tokens per sequence; 0 means one sequence of all tokens
    #[arg(long, value_name = "N", default_value_t = 0)]
    sequence_length: usize,
    /// Rounding of matrix product inputs
    #[arg(long, value_enum, default_value = "bf16")]
    precision: PrecisionArg,
    /// Threads; 0 means one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    data_dir: DataDir,
}

/// `--precision`.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum PrecisionArg {
    Bf16,
    F32,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let model_dir = installed_dir(&self.data_dir.path()?, &self.model)?;
        let report = bench(
            &model_dir,
            &BenchOptions {
                tokens: self.tokens,
                steps: self.steps,
                rank: self.lora_rank,
                sequence_length: self.sequence_length,
                precision: match self.precision {
                    PrecisionArg::Bf16 => Precision::Bf16,
                    PrecisionArg::F32 => Precision::F32,
                },
                threads: self.threads,
            },
        )?;
        output::resource(json, &serde_json::to_value(&report)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
