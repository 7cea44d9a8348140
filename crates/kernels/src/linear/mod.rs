//! Linear layers with LoRA: forward, gradient of the input, gradient of the adapter.
//!
//! Shapes: `x` `[T, K]`, `W` `[N, K]` frozen in its stored form, `out`, `dout` `[T, N]`, `A` `[r, K]`,
//! `B` `[N, r]`, `xa` `[T, sum of r]`. Linears that share their input are one call.
//! - forward: `xa = scale * x Aᵀ`, `out = x Wᵀ + bias + xa Bᵀ`;
//! - backward: `gb = scale * dout B`, `dx = dout W + gb A`, `da += gbᵀ x`, `db += doutᵀ xa`. There is no gradient
//!   of `W`.
//!
//! On the CPU the low-rank term of a span that covers all rows rides along in the large product, as one more term
//! of its reduction. Calls of at most [`crate::gemm::small::MAX_M`] rows (decoding) take the row-wise path. All
//! products round their inputs as the precision says, the low-rank ones included.
//! Tolerance: that of [`crate::gemm`]. Source: Hu et al., arXiv:2106.09685; PEFT `lora/layer.py`.

#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod cpu;
pub mod reference;
pub(crate) mod thin;

#[cfg(test)]
mod tests;
