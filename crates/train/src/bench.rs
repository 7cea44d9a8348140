//! Speed of the optimiser step, measured on random tokens with the code that trains.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use hearth_data::Sample;
use hearth_kernels::{AdamW, Backend, Cpu, CpuOptions, Isa, Precision, Reference};
use hearth_model::{Decoder, Lora, LoraConfig, Packed};
use hearth_run::{Backend as BackendName, Precision as PrecisionName};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::error::TrainError;
use crate::learner::{ADAM_BETA1, ADAM_BETA2, ADAM_EPS, Learner};
use crate::memory::{self, Memory};
use crate::plan;

/// Steps before the measured ones: they take memory from the system and read weights from disk.
const WARM_UP_STEPS: u32 = 1;
/// Seed of tokens and adapter.
const SEED: u64 = 1;
/// A rate at which random tokens stay finite.
const LEARNING_RATE: f32 = 1e-4;

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchOptions {
    /// Tokens of one optimiser step, taken as one packed micro-batch.
    pub tokens: usize,
    /// Measured steps; at least 1.
    pub steps: u32,
    /// LoRA rank, on all seven linear layers.
    pub rank: usize,
    /// Tokens per sequence; 0 means one sequence of all tokens.
    pub sequence_length: usize,
    /// Backend.
    pub backend: BackendName,
    /// Instruction set of the `cpu` backend; `None` means the best one.
    pub isa: Option<Isa>,
    /// Precision; the `reference` backend has f32 only.
    pub precision: PrecisionName,
    /// Threads of the `cpu` backend; 0 means one per core.
    pub threads: usize,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            tokens: 2048,
            steps: 5,
            rank: 8,
            sequence_length: 0,
            backend: BackendName::Cpu,
            isa: None,
            precision: PrecisionName::Bf16,
            threads: 0,
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// Directory of the base model.
    pub model: PathBuf,
    /// Weights of the base model.
    pub parameter_count: u64,
    /// Backend with the instruction set in use.
    pub backend: String,
    /// Rounding of GEMM inputs.
    pub precision: PrecisionName,
    /// Threads in use.
    pub threads: usize,
    /// LoRA rank.
    pub rank: usize,
    /// Tokens of one step.
    pub tokens_per_step: usize,
    /// Tokens with a loss: all but the first of each sequence.
    pub trained_tokens_per_step: usize,
    /// Tokens per sequence.
    pub sequence_length: usize,
    /// `tokens_per_step / step_seconds_median`.
    pub tokens_per_second: f64,
    /// Median over the measured steps.
    pub step_seconds_median: f64,
    /// Every measured step.
    pub step_seconds: Vec<f64>,
    /// Loss of the last step: near `ln(vocabulary)` on random tokens.
    pub last_loss: f64,
    /// Time to load the base.
    pub load_seconds: f64,
    /// Highest resident memory of this process, mapped weights included.
    pub peak_rss_bytes: u64,
}

/// Runs real optimiser steps on random tokens. Fails for a model that cannot be loaded and for options
/// that leave nothing to do or ask for more memory than there is.
pub fn bench(model_dir: &Path, options: &BenchOptions) -> Result<BenchReport, TrainError> {
    if options.tokens < 2 || options.steps == 0 || options.rank == 0 || options.sequence_length == 1 {
        return Err(TrainError::Setting {
            message: "tokens and sequence length must be at least 2, steps and rank at least 1".to_owned(),
        });
    }
    match options.backend {
        BackendName::Cpu => {
            let precision = match options.precision {
                PrecisionName::Bf16 => Precision::Bf16,
                PrecisionName::F32 => Precision::F32,
            };
            let cpu = Cpu::new(CpuOptions { threads: options.threads, isa: options.isa, precision })
                .map_err(|source| TrainError::Kernels { source })?;
            let threads = cpu.threads();
            measure(cpu, threads, model_dir, options)
        }
        BackendName::Reference if options.precision == PrecisionName::Bf16 || options.isa.is_some() => {
            Err(TrainError::Setting {
                message: "the reference backend has precision f32 and no instruction sets".to_owned(),
            })
        }
        BackendName::Reference => measure(Reference::<f32>::new(), 1, model_dir, options),
    }
}

fn measure<B: Backend>(
    backend: B,
    threads: usize,
    model_dir: &Path,
    options: &BenchOptions,
) -> Result<BenchReport, TrainError> {
    let name = backend.name();
    let started = Instant::now();
    let model_error =
        |source| TrainError::Model { action: "load the base model in", path: model_dir.to_owned(), source };
    let decoder = Decoder::load(Arc::new(backend), model_dir).map_err(model_error)?;
    let load_seconds = started.elapsed().as_secs_f64();
    let config = LoraConfig {
        r: options.rank,
        alpha: 2.0 * options.rank as f32,
        target_modules: decoder.config().linears().to_vec(),
    };
    let lora = Lora::init(&decoder, &config, SEED).map_err(model_error)?;
    if let Some(available) = memory::available_bytes() {
        memory::check(options.tokens, decoder.activation_bytes_per_token(&config, 0), available)?;
    }
    let parameter_count = decoder.config().parameter_count();
    let vocab_size = decoder.config().vocab_size;
    let mut learner = Learner::new(decoder, lora);
    let sequence_length = match options.sequence_length {
        0 => options.tokens,
        length => length.min(options.tokens),
    };
    let micro_batches = [random_tokens(options.tokens, sequence_length, vocab_size)];
    let mut step_seconds = Vec::new();
    let mut last_loss = 0.0;
    for step in 1..=WARM_UP_STEPS + options.steps {
        let adamw = AdamW {
            learning_rate: LEARNING_RATE,
            beta1: ADAM_BETA1,
            beta2: ADAM_BETA2,
            eps: ADAM_EPS,
            weight_decay: 0.0,
            step: u64::from(step),
        };
        let started = Instant::now();
        last_loss = learner.step(&micro_batches, &adamw)?.loss;
        if step > WARM_UP_STEPS {
            step_seconds.push(started.elapsed().as_secs_f64());
        }
    }
    let step_seconds_median = median(&step_seconds);
    Ok(BenchReport {
        model: model_dir.to_owned(),
        parameter_count,
        backend: name,
        precision: options.precision,
        threads,
        rank: options.rank,
        tokens_per_step: options.tokens,
        trained_tokens_per_step: micro_batches[0].weights.iter().filter(|&&weight| weight > 0.0).count(),
        sequence_length,
        tokens_per_second: options.tokens as f64 / step_seconds_median,
        step_seconds_median,
        step_seconds,
        last_loss,
        load_seconds,
        peak_rss_bytes: Memory::now().peak_rss_bytes,
    })
}

/// Sequences of random tokens, every token trained; the last sequence may be shorter.
fn random_tokens(tokens: usize, sequence_length: usize, vocab_size: usize) -> Packed {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut samples = Vec::new();
    let mut left = tokens;
    while left > 0 {
        let len = left.min(sequence_length);
        let tokens = (0..len).map(|_| rng.next_u32() % vocab_size as u32).collect();
        let mut weights = vec![1.0; len];
        weights[0] = 0.0;
        samples.push(Sample { line: 0, tokens, weights });
        left -= len;
    }
    plan::packed(&samples)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
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
    fn sequences_fill_the_tokens_exactly() {
        let packed = random_tokens(10, 4, 7);
        assert_eq!(packed.segments, [0..4, 4..8, 8..10]);
        assert_eq!(packed.weights.iter().filter(|&&weight| weight == 1.0).count(), 7);
        assert!(packed.tokens.iter().all(|&token| token < 7));
    }
}
