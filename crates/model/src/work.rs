//! The arithmetic of a micro-batch, from the numbers of an architecture alone: what [`hearth_kernels::Timed`] counts
//! while it is done.

use hearth_kernels::{attention_pairs, loss_products};

use crate::config::{Group, ModelConfig};
use crate::lora::LoraConfig;
use crate::packed::Packed;

impl ModelConfig {
    /// Floating-point operations of [`crate::Decoder::loss_and_grads`] on these rows, nothing being computed again.
    /// Exact for an adapter of all linears.
    pub fn training_flop(&self, lora: &LoraConfig, packed: &Packed) -> u64 {
        let t = packed.len();
        let blocks = self.num_hidden_layers as u64;
        // Forward; the gradients of the inputs, which the first block's first linears have not; the adapter's own.
        let backward = blocks * self.linear_flop(t, lora, Pass::Backward)
            - self.group_flop(t, lora, Pass::Input, Group::Qkv);
        // Attention takes twice as much in the backward.
        blocks * self.linear_flop(t, lora, Pass::Forward)
            + backward
            + 3 * self.attention_flop(packed)
            + loss_products(true) * self.head_flop(packed)
    }

    /// Operations of the loss alone, as an evaluation computes it.
    pub fn evaluation_flop(&self, lora: &LoraConfig, packed: &Packed) -> u64 {
        self.num_hidden_layers as u64 * self.linear_flop(packed.len(), lora, Pass::Forward)
            + self.attention_flop(packed)
            + loss_products(false) * self.head_flop(packed)
    }

    fn linear_flop(&self, t: usize, lora: &LoraConfig, pass: Pass) -> u64 {
        Group::ALL.into_iter().map(|group| self.group_flop(t, lora, pass, group)).sum()
    }

    fn group_flop(&self, t: usize, lora: &LoraConfig, pass: Pass, group: Group) -> u64 {
        let of = |&module| {
            let (n, k) = self.shape(module);
            let r = if lora.target_modules.contains(&module) { lora.r } else { 0 };
            match pass {
                Pass::Forward => product(t, n, k) + product(t, r, n + k),
                Pass::Input => product(t, n, k) + product(t, r, k),
                // `g B` serves both gradients.
                Pass::Backward => product(t, n, k) + 2 * product(t, r, n + k),
            }
        };
        self.modules(group).iter().map(of).sum()
    }

    fn attention_flop(&self, packed: &Packed) -> u64 {
        let pairs: u64 =
            self.layers.iter().map(|layer| attention_pairs(&packed.segments, layer.window)).sum();
        4 * pairs * self.q_dim() as u64
    }

    fn head_flop(&self, packed: &Packed) -> u64 {
        let trained = packed.weights.iter().filter(|&&weight| weight != 0.0).count();
        product(trained, self.vocab_size, self.hidden_size)
    }
}

/// What is computed of a linear.
#[derive(Clone, Copy)]
enum Pass {
    Forward,
    /// The part of the backward that is there for the gradient of the input only.
    Input,
    /// With the gradients of input and adapter.
    Backward,
}

/// Of a matrix product.
fn product(m: usize, n: usize, k: usize) -> u64 {
    2 * m as u64 * n as u64 * k as u64
}
