//! The gate of the MLP: `out = silu(gate) * up`, `silu(x) = x / (1 + exp(-x))`, and its backward.
//!
//! All outputs are overwritten. With `s = 1 / (1 + exp(-gate))`: `dup = dout * gate * s`,
//! `dgate = dout * up * s * (1 + gate * (1 - s))`. The exponential is that of [`crate::simd::exp`].
//! Source: Shazeer, arXiv:2002.05202.

pub mod cpu;
pub mod reference;

#[cfg(test)]
mod tests;
