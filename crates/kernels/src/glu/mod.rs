//! The gate of the MLP: `out = activation(gate) * up`, and its backward.
//!
//! All outputs are overwritten: `dup = dout * activation(gate)`, `dgate = dout * up * activation'(gate)`.
//! - SiLU: `x s`, slope `s (1 + x (1 - s))`, with `s = 1 / (1 + exp(-x))`.
//! - GELU by tanh: `x h`, slope `h + x h (1 - h) 2 u'`, with `h = 1 / (1 + exp(-2u))`, which is
//!   `(1 + tanh u) / 2`, and `u = sqrt(2/pi) (x + 0.044715 x^3)`.
//!
//! The exponential is that of [`crate::simd::exp`]. Source: Shazeer, arXiv:2002.05202; HF `gelu_pytorch_tanh`.

pub mod cpu;
pub mod reference;

#[cfg(test)]
mod tests;

/// `sqrt(2 / pi)`.
const GELU_ROOT: f64 = 0.797_884_560_802_865_4;
/// Factor of the cube.
const GELU_CUBIC: f64 = 0.044_715;
