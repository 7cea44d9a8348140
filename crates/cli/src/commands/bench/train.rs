//! `hearth bench train`.

use std::process::ExitCode;

use anyhow::Result;
use hearth_kernels::Isa;
use hearth_run::Precision;
use hearth_train::bench::{BenchOptions, bench};

use crate::catalogue::installed_dir;
use crate::commands::BackendArg;
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
    /// LoRA rank, on all linear layers
    #[arg(long, value_name = "N", default_value_t = 8)]
    lora_rank: usize,
    /// Tokens per sequence; 0 means one sequence of all tokens
    #[arg(long, value_name = "N", default_value_t = 0)]
    sequence_length: usize,
    /// Backend
    #[arg(long, value_enum, default_value = "cpu")]
    backend: BackendArg,
    /// Instruction set of the cpu backend; the best one when not given
    #[arg(long, value_enum)]
    isa: Option<IsaArg>,
    /// Rounding of matrix product inputs; the reference backend needs f32
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

/// `--isa`.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum IsaArg {
    Amx,
    Avx512Bf16,
    Avx512,
    Avx2,
    Plain,
}

impl From<IsaArg> for Isa {
    fn from(arg: IsaArg) -> Self {
        match arg {
            IsaArg::Amx => Self::Amx,
            IsaArg::Avx512Bf16 => Self::Avx512Bf16,
            IsaArg::Avx512 => Self::Avx512,
            IsaArg::Avx2 => Self::Avx2,
            IsaArg::Plain => Self::Plain,
        }
    }
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
                backend: self.backend.into(),
                isa: self.isa.map(Isa::from),
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
