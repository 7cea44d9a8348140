//! Which samples make which optimiser step.

use hearth_data::Sample;
use hearth_data::pack::{self, Batch, BatchSize};
use hearth_model::Packed;
use hearth_run::JobSpec;

/// Steps of a whole run. A step takes `gradient_accumulation_steps` batches; the last step of an epoch takes
/// what is left. No step spans two epochs.
#[derive(Debug)]
pub struct Plan {
    batches: pack::Plan,
    batches_per_step: usize,
    steps_per_epoch: Vec<u64>,
    largest: Vec<usize>,
}

impl Plan {
    /// A plan for these samples.
    pub fn new(job: &JobSpec, samples: &[Sample]) -> Self {
        let settings = pack::Settings {
            shuffle_seed: Some(job.seed),
            batch_size: BatchSize::of(job.batch_size_samples, job.batch_size_tokens),
            micro_batch_tokens: job.micro_batch_tokens as usize,
            shared_tokens: shared_tokens(samples),
        };
        let batches = pack::Plan::new(lengths(samples), settings);
        let batches_per_step = job.gradient_accumulation_steps as usize;
        let longest = samples.iter().map(|sample| sample.tokens.len()).max().unwrap_or(0);
        let most_tokens = longest.max(job.micro_batch_tokens as usize);
        let mut largest = Vec::new();
        let mut steps_per_epoch = Vec::new();
        for epoch in 0..u64::from(job.epochs) {
            // Counting is faster than filling, and none is larger than one that is full.
            let count = if rows(samples, &largest) < most_tokens {
                let filled = batches.epoch(epoch);
                let mut all = micro_batches(&filled);
                all.push(largest);
                largest = self::largest(samples, all);
                filled.len()
            } else {
                batches.batch_count(epoch)
            };
            steps_per_epoch.push(pack::step_count(count, batches_per_step));
        }
        Self { batches, batches_per_step, steps_per_epoch, largest }
    }

    /// The micro-batch of the whole run that has the most rows, as indices of samples.
    pub fn largest_micro_batch(&self) -> &[usize] {
        &self.largest
    }

    /// Optimiser steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.steps_per_epoch.iter().sum()
    }

    /// Steps of one epoch, from 0.
    pub fn steps_of_epoch(&self, epoch: u32) -> u64 {
        self.steps_per_epoch[epoch as usize]
    }

    /// Steps of all epochs before `epoch`, which may be the number of epochs.
    pub fn steps_before_epoch(&self, epoch: u32) -> u64 {
        self.steps_per_epoch[..epoch as usize].iter().sum()
    }

    /// The steps of one epoch: for each, its micro-batches as indices of samples.
    pub fn epoch(&self, epoch: u32) -> Vec<Vec<Vec<usize>>> {
        let batches = self.batches.epoch(u64::from(epoch));
        batches.chunks(self.batches_per_step).map(micro_batches).collect()
    }
}

fn micro_batches(batches: &[Batch]) -> Vec<Vec<usize>> {
    batches.iter().flat_map(|batch| batch.micro_batches.iter().cloned()).collect()
}

/// Micro-batches for evaluation, in file order.
pub fn evaluation(samples: &[Sample], micro_batch_tokens: u32) -> Vec<Vec<usize>> {
    if samples.is_empty() {
        return Vec::new();
    }
    let settings = pack::Settings {
        shuffle_seed: None,
        batch_size: BatchSize::Tokens(micro_batch_tokens as usize),
        micro_batch_tokens: micro_batch_tokens as usize,
        shared_tokens: shared_tokens(samples),
    };
    micro_batches(&pack::Plan::new(lengths(samples), settings).epoch(0))
}

/// Joins samples to the packed rows of one micro-batch.
pub fn packed<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Packed {
    Packed::of(samples.into_iter().map(sequence))
}

/// The packed rows of one micro-batch, given as indices of samples.
pub fn packed_of(samples: &[Sample], indices: &[usize]) -> Packed {
    packed(indices.iter().map(|&i| &samples[i]))
}

/// The one with the most rows; none if there are none.
pub fn largest(samples: &[Sample], micro_batches: Vec<Vec<usize>>) -> Vec<usize> {
    micro_batches.into_iter().max_by_key(|indices| rows(samples, indices)).unwrap_or_default()
}

/// Rows of these samples in one micro-batch.
pub fn rows(samples: &[Sample], indices: &[usize]) -> usize {
    packed_of(samples, indices).len()
}

/// Tokens that all samples begin with and share the rows of.
pub fn shared_tokens(samples: &[Sample]) -> usize {
    Packed::common_beginning(samples.iter().map(sequence))
}

fn sequence(sample: &Sample) -> (&[u32], &[f32]) {
    (&sample.tokens, &sample.weights)
}

/// The same rows with a loss at every token, which takes the most memory.
pub fn all_trained(mut packed: Packed) -> Packed {
    packed.weights.fill(1.0);
    packed
}

/// Tokens of the samples of some micro-batches.
pub fn tokens(samples: &[Sample], micro_batches: &[Vec<usize>]) -> usize {
    micro_batches.iter().flatten().map(|&i| samples[i].tokens.len()).sum()
}

fn lengths(samples: &[Sample]) -> Vec<usize> {
    samples.iter().map(|sample| sample.tokens.len()).collect()
}
