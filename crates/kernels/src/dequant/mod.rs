//! Expansion of stored blocks to f32.
//!
//! Every form is expanded exactly as GGUF defines it: quantised integer and scales are widened to f32, and
//! the products and sums are rounded once each, in the order of the format's definition (no fused
//! multiply-add). So all implementations agree bit for bit. The same plain loops are compiled once per
//! instruction set; the compiler vectorises them.
//! Source: ggml `ggml-common.h` (layouts), `ggml-quants.c` (`dequantize_row_*`).

pub mod reference;

use std::ops::Range;

use crate::options::Isa;
use crate::simd::per_isa;
use crate::weight::{WeightBytes, WeightDtype};

per_isa! {
    /// Expands whole blocks: `bytes` holds exactly `out.len()` elements of the form.
    pub fn expand(dtype: WeightDtype, bytes: &[u8], out: &mut [f32]) = reference::expand;
}

/// Expands `cols` of one row into `out` (`cols.len()` numbers). `cols` begins and ends on block borders.
pub fn expand_row(isa: Isa, w: &WeightBytes, row: usize, cols: Range<usize>, out: &mut [f32]) {
    expand(isa, w.dtype, row_bytes(w, row, cols), out);
}

/// The stored bytes of `cols` of one row. `cols` begins and ends on block borders.
pub fn row_bytes(w: &WeightBytes, row: usize, cols: Range<usize>) -> &[u8] {
    let (len, size) = (w.dtype.block_len(), w.dtype.block_bytes());
    debug_assert!(cols.start.is_multiple_of(len) && cols.end.is_multiple_of(len) && cols.end <= w.cols);
    let row_start = row * (w.cols / len * size);
    &w.bytes()[row_start + cols.start / len * size..row_start + cols.end / len * size]
}
