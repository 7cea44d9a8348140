//! RMSNorm forward and backward: `out = x * rsqrt(mean(x^2) + eps) * w`, mean over C.
//!
//! Shapes: `x`, `out`, `dout`, `dx` `[T, C]`; `w` `[C]`; `rstd` `[T]`; row-major f32. `out` and `rstd` are
//! overwritten. Backward: with `n = x * rstd` and `g = dout * w`, `dx = rstd * (g - n * mean(g * n))`. Sums over C run in 64 interleaved f32 lanes and a fixed tree.
//! Source: Zhang & Sennrich, arXiv:1910.07467; HF `LlamaRMSNorm`.

pub mod cpu;
pub mod reference;

#[cfg(test)]
mod tests;
