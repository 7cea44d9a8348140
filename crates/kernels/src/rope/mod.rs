//! Rotary position embedding, in place: pairs `(i, i + head_dim/2)` turn by `positions[t] * inv_freq[i]`.
//!
//! The angle is the f32 product of position and frequency, as in HF `LlamaRotaryEmbedding`; its sine and
//! cosine come from the standard library. `inverse` turns back, which is the backward.
//! Source: Su et al., arXiv:2104.09864, in the `rotate_half` layout of HF.

pub mod cpu;
pub mod reference;

#[cfg(test)]
mod tests;
