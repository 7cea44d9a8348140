//! Speed and memory, measured with the code that trains.
//!
//! [`train()`] runs real optimiser steps or evaluations; [`gemm()`] runs single products of the shapes that occur in
//! them. Both compare with the same ceiling, the rate of multiply-adds between registers.

mod gemm;
mod train;
mod work;

use hearth_kernels::{Cpu, CpuOptions, Isa, Precision};
use hearth_run::Precision as PrecisionName;

use crate::error::TrainError;

pub use gemm::{GemmOptions, GemmReport, MatrixSize, Product, Products, gemm};
pub use train::{PartReport, Parts, TrainBench, TrainReport, train};
pub use work::Tokens;

/// Seed of everything that is random here.
const SEED: u64 = 1;

fn cpu(threads: usize, isa: Option<Isa>, precision: PrecisionName) -> Result<Cpu, TrainError> {
    let precision = match precision {
        PrecisionName::Bf16 => Precision::Bf16,
        PrecisionName::F32 => Precision::F32,
        PrecisionName::Int8 => Precision::Int8,
    };
    Cpu::new(CpuOptions { threads, isa, precision }).map_err(|source| TrainError::Kernels { source })
}

fn refused(message: &str) -> TrainError {
    TrainError::Benchmark { message: message.to_owned() }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Of at least one value.
fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The smallest value that at least 95 of 100 do not exceed; of few values, the largest.
fn p95(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    sorted[(sorted.len() * 95).div_ceil(100) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn the_95th_of_100_and_the_last_of_few() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(p95(&values), 95.0);
        assert_eq!(p95(&values[..19]), 100.0);
        assert_eq!(p95(&[7.0]), 7.0);
    }
}
