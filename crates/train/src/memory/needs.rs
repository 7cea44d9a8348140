//! What a run takes, from the sizes of its parts, and how many blocks can keep their activations.
//!
//! The split of a step into micro-batches decides the order of its sums, so it follows from `job.json` alone and not
//! from the memory of the day. What may follow from it is how much is computed again, since that changes no bit.

use hearth_kernels::Backend;
use hearth_model::{LoraConfig, ModelConfig};

use crate::error::TrainError;
use crate::learner::Learner;
use crate::memory::Size;

/// Copies of an adapter while a run lasts: parameters, gradients and two moments.
const ADAPTER_COPIES: u64 = 4;
/// Copies of an adapter that saving a checkpoint makes for a moment: parameters and moments, and the file's bytes.
const SAVING_COPIES: u64 = 6;

/// Bytes of the parts of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Program, tokenizer, samples, and the base's weights, mapped or copied.
    pub held: u64,
    /// Adapter, gradients, moments.
    pub adapter: u64,
    /// Logits and other scratch of one op.
    pub scratch: u64,
    /// Taken for a moment when a checkpoint or the output is written.
    pub saving: u64,
    /// Buffers of the largest micro-batch, if 0, 1, 2, .. blocks run forward again.
    pub activations: Vec<u64>,
    /// Tokens of the largest micro-batch.
    pub tokens: usize,
}

/// How a run fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Memory that it takes at most.
    pub needed_bytes: u64,
    /// Blocks that run forward again in the backward pass.
    pub recomputed_blocks: usize,
}

impl Needs {
    /// Of an adapter on a base, with micro-batches of so many tokens at most for training and for evaluation.
    /// `held` is what the process has, or will have once it has read all of the base; an operand of the backend
    /// takes `operand_bytes`.
    pub fn of(
        config: &ModelConfig,
        lora: &LoraConfig,
        operand_bytes: usize,
        held: u64,
        tokens: usize,
        evaluated_tokens: usize,
    ) -> Self {
        let adapter = 4 * config.adapter_len(lora) as u64;
        // A workspace has one set of buffers for both.
        let forward = config.forward_bytes_per_token((tokens > 0).then_some(lora), operand_bytes);
        let forward = (forward * evaluated_tokens.saturating_sub(tokens)) as u64;
        let activations = |blocks| {
            (config.activation_bytes_per_token(lora, blocks, operand_bytes) * tokens) as u64 + forward
        };
        let rows = tokens.max(evaluated_tokens);
        let gate = crate::output::gate_logits(config.vocab_size) as u64 * 4;
        Self {
            held,
            adapter: ADAPTER_COPIES * adapter,
            scratch: (config.loss_bytes(rows, operand_bytes) + 4 * rows * config.intermediate_size) as u64,
            saving: (SAVING_COPIES * adapter).max(2 * adapter + gate),
            activations: (0..=config.most_recomputed()).map(activations).collect(),
            tokens,
        }
    }

    /// The same of a learner that has made no step yet.
    pub fn of_learner<B: Backend>(
        learner: &Learner<B>,
        held: u64,
        tokens: usize,
        evaluated_tokens: usize,
    ) -> Self {
        let (decoder, lora) = (learner.decoder(), learner.lora().config());
        Self::of(decoder.config(), lora, decoder.backend().operand_bytes(), held, tokens, evaluated_tokens)
    }

    /// What the largest micro-batch leaves in memory, with nothing being saved.
    pub fn trained(&self, recomputed_blocks: usize) -> u64 {
        self.held + self.adapter + self.scratch + self.activations[recomputed_blocks]
    }

    /// Keeps the activations of as many blocks as fit.
    pub fn fit(&self, limit: Option<u64>) -> Result<Fit, TrainError> {
        let limit = limit.unwrap_or(u64::MAX);
        self.fits().find(|fit| fit.needed_bytes <= limit).ok_or(TrainError::Memory {
            tokens: self.tokens,
            needed: Size(self.least()),
            limit: Size(limit),
        })
    }

    /// What the run takes if it computes again what it can.
    pub fn least(&self) -> u64 {
        self.fits().map(|fit| fit.needed_bytes).min().unwrap_or(u64::MAX)
    }

    fn fits(&self) -> impl Iterator<Item = Fit> {
        (0..self.activations.len())
            .map(|blocks| Fit { needed_bytes: self.trained(blocks) + self.saving, recomputed_blocks: blocks })
    }

    /// The same, now that the largest micro-batch was seen to leave `rss_bytes` in memory with `recomputed_blocks`.
    pub fn seen(&mut self, rss_bytes: u64, recomputed_blocks: usize) {
        self.held += rss_bytes.saturating_sub(self.trained(recomputed_blocks));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_few_blocks_as_possible_run_again_and_none_too_many_are_refused() {
        let mut needs = Needs {
            held: 100,
            adapter: 10,
            scratch: 5,
            saving: 5,
            // The first block that runs again needs buffers of its own.
            activations: vec![400, 420, 300, 200, 100],
            tokens: 7,
        };
        let check = |needs: &Needs, limit: Option<u64>, expect: Option<(u64, usize)>| {
            let fit = needs.fit(limit).ok().map(|fit| (fit.needed_bytes, fit.recomputed_blocks));
            assert_eq!(fit, expect, "{limit:?}");
        };
        check(&needs, None, Some((520, 0)));
        check(&needs, Some(520), Some((520, 0)));
        check(&needs, Some(519), Some((420, 2)));
        check(&needs, Some(400), Some((320, 3)));
        check(&needs, Some(220), Some((220, 4)));
        check(&needs, Some(219), None);
        // More than was planned stays in memory with two blocks: 450 and not 415.
        needs.seen(450, 2);
        check(&needs, Some(519), Some((455, 2)));
        check(&needs, Some(454), Some((355, 3)));
        // Less than planned changes nothing.
        needs.seen(1, 0);
        check(&needs, Some(454), Some((355, 3)));
    }

    #[test]
    fn a_refusal_says_how_much_and_what_to_lower() {
        let needs =
            Needs { held: 3 << 30, activations: vec![9 << 30, 8 << 30], tokens: 2048, ..Needs::default() };
        let message = needs.fit(Some(10 << 30)).expect_err("it does not fit").to_string();
        assert_eq!(
            message,
            "training on micro-batches of up to 2048 tokens takes 11.0 GiB, and 10.0 GiB may be used; \
             lower max_context_length, the batch size or lora_rank, or give the trainer more memory"
        );
    }
}
