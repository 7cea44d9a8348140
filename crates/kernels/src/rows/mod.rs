//! Moving rows: embedding, gather, scatter, copies of rows and columns, add. Contracts are those of [`crate::Backend`].
//!
//! All are exact copies or single additions, so implementations agree bit for bit.

pub mod cpu;
pub mod reference;

#[cfg(test)]
mod tests;
