//! `hearth bench gemm`.

use std::process::ExitCode;

use anyhow::Result;
use hearth_train::bench::{GemmOptions, GemmReport, MatrixSize, Product, Products, gemm};

use super::{CpuArgs, DEFAULT_MODEL, decimal};
use crate::catalogue::installed_dir;
use crate::config::DataDir;
use crate::output;

/// Measure matrix products and the ceiling of this machine
///
/// The ceiling is the rate of multiply-adds between registers on all threads. Products are those of a model's training
/// step, forward and backward, with its matrices as they are stored, or those of given sizes.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth bench gemm --model smollm2-135m-instruct\n  \
                  hearth bench gemm --shapes 1536x576,49152x576:q8_0 --rows 512")]
pub struct Args {
    /// Installed model: id, full name, or a model directory
    #[arg(long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    model: String,
    /// Sizes instead of a model's: outputs and inputs of a matrix, and its stored form, else bf16
    #[arg(long, value_name = "NxK[:FORM],...", value_delimiter = ',', conflicts_with = "model")]
    shapes: Vec<MatrixSize>,
    /// Token rows; large output heads take fewer, as in training
    #[arg(long, value_name = "N", default_value_t = 2048)]
    rows: usize,
    #[command(flatten)]
    cpu: CpuArgs,
    #[command(flatten)]
    data_dir: DataDir,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let products = match self.shapes.is_empty() {
            true => Products::Model(installed_dir(&self.data_dir.path()?, &self.model)?),
            false => Products::Sizes(self.shapes),
        };
        let report = gemm(&GemmOptions {
            products,
            rows: self.rows,
            isa: self.cpu.isa,
            precision: self.cpu.precision.into(),
            threads: self.cpu.threads,
        })?;
        if json {
            output::json(&serde_json::to_value(&report)?)?;
        } else {
            print(&report)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(report: &GemmReport) -> Result<()> {
    output::line(&format!(
        "{}, ceiling {} GFLOP/s\n",
        report.backend,
        decimal(report.ceiling_flop_per_second / 1e9)
    ))?;
    let row = |product: &Product| {
        let Product { rows, outputs, inputs, .. } = product;
        vec![
            product.linears.join(" "),
            product.direction.to_owned(),
            format!("{rows} x {outputs} x {inputs}"),
            product.form.clone(),
            decimal(product.flop_per_second / 1e9),
            decimal(product.flop_per_second_best / 1e9),
            decimal(product.share_of_ceiling * 100.0),
        ]
    };
    let headings =
        ["LINEARS", "DIRECTION", "ROWS x OUTPUTS x INPUTS", "FORM", "GFLOP/S", "BEST", "% OF CEILING"];
    output::table(&headings, &report.products.iter().map(row).collect::<Vec<_>>())
}
