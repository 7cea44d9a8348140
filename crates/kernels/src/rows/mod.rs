//! Moving rows: embedding, gather, scatter, copy, add. Contracts are those of [`crate::Backend`].
//!
//! All are exact copies or single additions, so implementations agree bit for bit.

pub mod cpu;
pub mod reference;

#[cfg(test)]
mod tests;
