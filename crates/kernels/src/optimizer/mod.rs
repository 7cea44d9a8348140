//! Sum of squares (for gradient clipping) and the AdamW update.
//!
//! The sum of squares runs in f64 over blocks of 4096 elements, each in 8 interleaved lanes, added in order.
//! AdamW is `torch.optim.AdamW` (decoupled decay), element by element in f32; the bias corrections are
//! computed in f64. Source: Loshchilov & Hutter, arXiv:1711.05101.

pub mod reference;

use crate::backend::AdamW;

/// The two bias corrections, `1 - beta^step`, in f64.
pub fn bias_corrections(adamw: &AdamW) -> (f64, f64) {
    let step = i32::try_from(adamw.step).unwrap_or(i32::MAX);
    (1.0 - f64::from(adamw.beta1).powi(step), 1.0 - f64::from(adamw.beta2).powi(step))
}
pub mod cpu;

#[cfg(test)]
mod tests;
