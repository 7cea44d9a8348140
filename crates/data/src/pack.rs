//! Which samples make which batch and micro-batch, in which order.
//!
//! An epoch's order is a seeded shuffle. Batches take samples in that order, next-fit: a batch is closed when
//! the next sample does not fit, and never reopened, so that the order stays the shuffle's. Inside a batch the
//! order does not matter to the result, and micro-batches are filled best-fit, longest sample first.
//! Everything is computed from lengths and settings: a resumed run asks for the epoch and goes on at its batch.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What closes a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// At most this many tokens; a single longer sample makes a batch of its own.
    Tokens(usize),
    /// This many samples; the last batch of an epoch may have fewer.
    Samples(usize),
}

impl BatchSize {
    /// As a job says it: samples decide unless they are 0.
    pub fn of(samples: u32, tokens: u32) -> Self {
        if samples > 0 { Self::Samples(samples as usize) } else { Self::Tokens(tokens as usize) }
    }
}

/// Optimiser steps that `batches` batches make. A step takes `batches_per_step` of them, the last one what is left.
pub fn step_count(batches: usize, batches_per_step: usize) -> u64 {
    batches.div_ceil(batches_per_step) as u64
}

/// Settings of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Shuffle with this seed plus the epoch's number; `None` keeps the samples' own order (evaluation).
    pub shuffle_seed: Option<u64>,
    /// What closes a batch.
    pub batch_size: BatchSize,
    /// Most tokens of a micro-batch; a single longer sample makes one of its own.
    pub micro_batch_tokens: usize,
    /// Tokens that all samples begin with, and that count once in a micro-batch.
    pub shared_tokens: usize,
}

/// One batch: micro-batches of sample indices. No micro-batch is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Sample indices of each micro-batch.
    pub micro_batches: Vec<Vec<usize>>,
}

impl Batch {
    /// All sample indices of the batch.
    pub fn samples(&self) -> impl Iterator<Item = usize> {
        self.micro_batches.iter().flatten().copied()
    }
}

/// How an epoch is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Batches.
    pub batches: usize,
    /// Micro-batches of all of them.
    pub micro_batches: usize,
    /// Rows of all micro-batches: tokens, those that samples share counted once in each.
    pub rows: usize,
    /// Rows that they have room for. A sample that is longer than a micro-batch fills its own.
    pub room: usize,
}

/// The division of samples into batches, for any epoch.
#[derive(Clone, Debug)]
pub struct Plan {
    lengths: Vec<usize>,
    settings: Settings,
}

impl Plan {
    /// A plan for samples of these lengths, in tokens. Panics on a limit of 0, and on samples shorter than what they
    /// share (programmer error).
    pub fn new(lengths: Vec<usize>, settings: Settings) -> Self {
        let (BatchSize::Tokens(limit) | BatchSize::Samples(limit)) = settings.batch_size;
        assert!(limit > 0 && settings.micro_batch_tokens > 0, "limits of a plan must be above 0");
        assert!(
            lengths.iter().all(|&length| length >= settings.shared_tokens),
            "samples have the shared tokens"
        );
        Plan { lengths, settings }
    }

    /// The batches of epoch `epoch` (from 0), in order. Every sample is in exactly one.
    pub fn epoch(&self, epoch: u64) -> Vec<Batch> {
        self.batches(epoch).iter().map(|samples| self.batch(samples)).collect()
    }

    /// How many batches epoch `epoch` has.
    pub fn batch_count(&self, epoch: u64) -> usize {
        self.batches(epoch).len()
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        if let Some(seed) = self.settings.shuffle_seed {
            let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(epoch));
            // Fisher-Yates, written out so that no library's change of method changes an adapter.
            for last in (1..order.len()).rev() {
                let pick = (u128::from(rng.next_u64()) * (last as u128 + 1)) >> 64;
                order.swap(last, pick as usize);
            }
        }
        order
    }

    /// How epoch `epoch` is filled. Holds one batch at a time, so that it takes little memory for many samples.
    pub fn packing(&self, epoch: u64) -> Packing {
        let mut packing = Packing { batches: 0, micro_batches: 0, rows: 0, room: 0 };
        self.each_batch(epoch, |samples| {
            packing.batches += 1;
            for micro_batch in self.batch(samples).micro_batches {
                packing.micro_batches += 1;
                let shared = self.settings.shared_tokens;
                let own: usize = micro_batch.iter().map(|&sample| self.lengths[sample] - shared).sum();
                packing.rows += own + shared;
                packing.room += self.settings.micro_batch_tokens.max(own + shared);
            }
        });
        packing
    }

    fn batches(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut batches: Vec<Vec<usize>> = Vec::new();
        self.each_batch(epoch, |samples| batches.push(samples.to_vec()));
        batches
    }

    fn each_batch(&self, epoch: u64, mut take: impl FnMut(&[usize])) {
        let mut batch: Vec<usize> = Vec::new();
        let mut filled = 0;
        for sample in self.order(epoch) {
            let (cost, limit) = match self.settings.batch_size {
                BatchSize::Tokens(limit) => (self.lengths[sample], limit),
                BatchSize::Samples(limit) => (1, limit),
            };
            if !batch.is_empty() && filled + cost > limit {
                take(&batch);
                batch.clear();
                filled = 0;
            }
            batch.push(sample);
            filled += cost;
        }
        if !batch.is_empty() {
            take(&batch);
        }
    }

    /// Best-fit decreasing; equal lengths keep the batch's order.
    fn batch(&self, samples: &[usize]) -> Batch {
        let mut by_length = samples.to_vec();
        by_length.sort_by_key(|&sample| std::cmp::Reverse(self.lengths[sample]));
        let mut bins: Vec<(usize, Vec<usize>)> = Vec::new();
        for sample in by_length {
            let Settings { shared_tokens, micro_batch_tokens, .. } = self.settings;
            let length = self.lengths[sample] - shared_tokens;
            let best = bins
                .iter_mut()
                .filter(|(filled, _)| filled + length <= micro_batch_tokens)
                .max_by_key(|(filled, _)| *filled);
            match best {
                Some((filled, bin)) => {
                    *filled += length;
                    bin.push(sample);
                }
                None => bins.push((shared_tokens + length, vec![sample])),
            }
        }
        Batch { micro_batches: bins.into_iter().map(|(_, bin)| bin).collect() }
    }
}

#[cfg(test)]
mod tests;
