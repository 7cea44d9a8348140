//! What a benchmark runs on: samples, and which of them make a step.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use hearth_data::pack::{self, BatchSize};
use hearth_data::{Renderer, Sample};
use hearth_model::ModelConfig;
use hearth_run::ledger::Usage;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::bench::{SEED, refused};
use crate::error::TrainError;
use crate::plan;
use crate::samples::Samples;

/// Rows of one step, where rows are given.
const ROWS_PER_STEP: usize = 8;

/// The tokens of the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Random ones, the same in every step, in one packed micro-batch; all are trained but the first of a sequence.
    Random {
        /// Tokens of a step.
        count: usize,
        /// Tokens of a sequence, the last one of which may be shorter; 0 means one sequence of all.
        sequence_length: usize,
    },
    /// Rows of a JSONL file, rendered with the model's template: eight a step in the order of the file, packed into
    /// micro-batches as the trainer packs, from the beginning again after the last.
    Rows(PathBuf),
}

/// Samples and steps.
pub struct Work {
    pub samples: Vec<Sample>,
    /// For each step, its micro-batches as indices of samples.
    pub steps: Vec<Vec<Vec<usize>>>,
}

impl Work {
    /// Random tokens, or rows read and rendered.
    pub fn new(
        tokens: &Tokens,
        micro_batch_tokens: usize,
        model_dir: &Path,
        config: &ModelConfig,
    ) -> Result<Self, TrainError> {
        let (samples, rows_per_step) = match tokens {
            Tokens::Random { count, sequence_length } => {
                if *count < 2 || *sequence_length == 1 {
                    return Err(refused("tokens and sequence length must be at least 2"));
                }
                let length = if *sequence_length == 0 { *count } else { *sequence_length };
                let samples = random(*count, length, config.vocab_size);
                let all = samples.len();
                (samples, all)
            }
            Tokens::Rows(path) => (Self::rows(path, model_dir, config)?, ROWS_PER_STEP),
        };
        let settings = pack::Settings {
            shuffle_seed: None,
            batch_size: BatchSize::Samples(rows_per_step),
            micro_batch_tokens,
            shared_tokens: plan::shared_tokens(&samples),
        };
        let lengths = samples.iter().map(|sample| sample.tokens.len()).collect();
        let batches = pack::Plan::new(lengths, settings).epoch(0);
        Ok(Self { samples, steps: batches.into_iter().map(|batch| batch.micro_batches).collect() })
    }

    fn rows(path: &Path, model_dir: &Path, config: &ModelConfig) -> Result<Vec<Sample>, TrainError> {
        let renderer = Renderer::open(model_dir, None).map_err(|source| TrainError::Tokenizer {
            whose: "the model's tokenizer and chat template",
            source,
        })?;
        let limit = config.max_position_embeddings;
        let read = Samples::read(
            "benchmark",
            Usage::Train,
            &[path.to_owned()],
            &renderer,
            limit,
            &AtomicBool::new(false),
        )?;
        if read.dropped.count > 0 {
            let message = format!("{} rows are longer than the model's {limit} tokens", read.dropped.count);
            return Err(TrainError::Benchmark { message });
        }
        Ok(read.samples)
    }

    /// Rows of the largest micro-batch.
    pub fn largest(&self) -> usize {
        self.steps
            .iter()
            .flatten()
            .map(|micro_batch| plan::rows(&self.samples, micro_batch))
            .max()
            .unwrap_or(0)
    }
}

/// Sequences of random tokens, every token trained; the last sequence may be shorter.
fn random(count: usize, sequence_length: usize, vocab_size: usize) -> Vec<Sample> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut samples = Vec::new();
    let mut left = count;
    while left > 0 {
        let len = left.min(sequence_length);
        let tokens = (0..len).map(|_| rng.next_u32() % vocab_size as u32).collect();
        let mut weights = vec![1.0; len];
        weights[0] = 0.0;
        samples.push(Sample { line: 0, tokens, weights });
        left -= len;
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_fill_the_tokens_exactly() {
        let samples = random(10, 4, 7);
        let lengths: Vec<usize> = samples.iter().map(|sample| sample.tokens.len()).collect();
        assert_eq!(lengths, [4, 4, 2]);
        assert_eq!(samples.iter().map(Sample::trained_tokens).sum::<usize>(), 7);
        assert!(samples.iter().flat_map(|sample| &sample.tokens).all(|&token| token < 7));
    }
}
