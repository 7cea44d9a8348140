//! Weighted cross-entropy of `softmax(hidden Wᵀ)` and its gradient with respect to `hidden`.
//!
//! Logits exist for a chunk of rows at a time, never for all. The loss of a row is
//! `log-sum-exp(logits) - logits[target]`; both sums of [`crate::LossSums`] run over the rows in order in f64.
//! A row of weight 0 adds nothing, gets a zero gradient, and its target is not looked at.

pub mod cpu;
pub mod reference;

#[cfg(test)]
mod tests;
