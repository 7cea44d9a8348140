//! `hearth bench`.

mod gemm;
mod train;

use std::process::ExitCode;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use hearth_kernels::Isa;
use hearth_run::Precision;

/// What is measured when no model is named.
const DEFAULT_MODEL: &str = "smollm2-135m-instruct";

/// Measure the speed of this machine
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  hearth bench train --model smollm2-135m-instruct --tokens 2048")]
pub enum Command {
    Train(train::Args),
    Gemm(gemm::Args),
}

impl Command {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        match self {
            Self::Train(args) => args.run(json),
            Self::Gemm(args) => args.run(json),
        }
    }
}

/// How the cpu backend computes.
#[derive(clap::Args, Debug)]
struct CpuArgs {
    /// Instruction set of the cpu backend; the best one when not given
    #[arg(long, value_name = "ISA", value_parser = isa_parser())]
    isa: Option<Isa>,
    /// Rounding of matrix product inputs; the reference backend needs f32
    #[arg(long, value_enum, default_value = "bf16")]
    precision: PrecisionArg,
    /// Threads; 0 means one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

/// `--precision`.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum PrecisionArg {
    Bf16,
    F32,
    Int8,
}

impl From<PrecisionArg> for Precision {
    fn from(arg: PrecisionArg) -> Self {
        match arg {
            PrecisionArg::Bf16 => Self::Bf16,
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::Int8 => Self::Int8,
        }
    }
}

/// Takes the names of all instruction sets; whether this machine has one, the backend says.
fn isa_parser() -> impl TypedValueParser<Value = Isa> {
    PossibleValuesParser::new(Isa::ALL.map(Isa::name))
        .map(|name| Isa::ALL.into_iter().find(|isa| isa.name() == name).unwrap_or(Isa::Plain))
}

/// A rate in 10^9 per second, or a share in percent, as tables show them.
fn decimal(value: f64) -> String {
    format!("{value:.1}")
}
