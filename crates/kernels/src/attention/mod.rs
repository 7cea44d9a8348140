//! Causal attention with grouped key/value heads: over packed segments (forward and backward), over caches.
//!
//! Shapes: `q`, `out`, `dout`, `dq` `[T, n_heads * head_dim]`; `k`, `v`, `dk`, `dv`
//! `[T, n_kv_heads * head_dim]`; `lse` `[T, n_heads]`. Query head h reads key head `h * n_kv_heads / n_heads`.
//! Outputs are overwritten for the rows of the segments or spans. Segments see nothing of one another.
//!
//! On the CPU scores exist for tiles of [`cpu::TILE`] queries and keys only, with the softmax kept up to date
//! along the keys. The products of a tile round their inputs as the precision says; scores, sums and the
//! softmax are f32. Decoding a few rows ([`cached::FEW_ROWS`]) does not round at all.
//! Sums run over key tiles in order (forward, `dq`), over query tiles in order (`dk`, `dv`), and `dk`, `dv` of
//! the query heads of a group are added in head order.
//! Source: Milakov & Gimelshein, arXiv:1805.02867 (online softmax); Dao et al., arXiv:2205.14135.

pub mod backward;
pub mod cached;
pub mod cpu;
pub mod reference;

#[cfg(test)]
mod tests;
