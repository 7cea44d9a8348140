//! Causal attention with grouped key/value heads: over packed segments (forward and backward), over caches.
//!
//! Shapes: `q`, `out`, `dout`, `dq` `[T, n_heads * head_dim]`; `k`, `v`, `dk`, `dv`
//! `[T, n_kv_heads * head_dim]`; `lse` `[T, n_heads]`. Query head h reads key head `h * n_kv_heads / n_heads`.
//! Outputs are overwritten for the rows of the segments or spans. Segments see nothing of one another but the rows
//! that they share. With a window, query i sees keys j with `i - j` below it, and tiles outside are not computed.
//!
//! On the CPU scores are computed turned, `[keys][queries]`, for 32 queries (the lanes of a packed panel) and a
//! tile of keys at a time. So the softmax runs down the lanes, keys and values need no packing beyond a
//! transposition of one of them, and probabilities come out in the layout of the next product: as a panel for
//! sums over keys (`out`, `dq`), as left rows for sums over queries (`dk`, `dv`). The query heads of a group
//! are lanes of one task, which shares what is made of the keys.
//!
//! With pairs of bf16 in vector registers, a few scores at a time stay there from their product to their rounded
//! probability (`avx512::fused`). Soft caps, other instruction sets and tile registers go through memory.
//!
//! The products round their inputs as the precision says; scores, sums and the softmax are f32. Decoding a
//! few rows ([`cached::FEW_ROWS`]) does not round beyond what its inputs are stored in.
//! Sums run over key tiles in order (forward, `dq`), over query tiles and in these over head parts in order
//! (`dk`, `dv`), in runs of queries that depend on the segments alone.
//! Source: Milakov & Gimelshein, arXiv:1805.02867 (online softmax); Dao et al., arXiv:2205.14135.

#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod backward;
pub mod cached;
pub mod forward;
mod gradient;
mod joined;
mod keys;
mod layout;
pub mod reference;
mod scratch;
mod softmax;
mod words;

#[cfg(test)]
mod tests;
