//! Expansion of stored blocks to f32.
//!
//! Every form is expanded exactly as GGUF defines it: quantised integer and scales are widened to f32, and
//! the products and sums are rounded once each, in the order of the format's definition (no fused
//! multiply-add). So all implementations agree bit for bit (but for the payload of a NaN). The same plain loops
//! are compiled once per instruction set; AVX-512 has its own code for all forms, AVX2 for two common ones.
//! Source: ggml `ggml-common.h` (layouts), `ggml-quants.c` (`dequantize_row_*`).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
pub mod reference;

use std::ops::Range;

use crate::options::Isa;
use crate::simd::per_isa;
use crate::weight::{WeightBytes, WeightDtype};

per_isa! {
    fn expand_plainly(dtype: WeightDtype, bytes: &[u8], out: &mut [f32]) = reference::expand;
}

/// Expands whole blocks: `bytes` holds exactly `out.len()` elements of the form. Panics otherwise.
pub fn expand(isa: Isa, dtype: WeightDtype, bytes: &[u8], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        assert_eq!(dtype.row_bytes(out.len()), Some(bytes.len()), "bytes and elements disagree");
        // SAFETY: an `Isa` is used only if it is available; the functions need no more than its features. The
        // bytes hold the elements, in whole blocks.
        unsafe {
            match (isa, dtype) {
                (isa, dtype) if isa <= Isa::Avx512 => {
                    avx512::by_form!(dtype, S => avx512::expand::<S>(bytes.as_ptr(), out));
                    return;
                }
                (Isa::Avx2, WeightDtype::Q4_0) => return avx2::q4_0(bytes, out),
                (Isa::Avx2, WeightDtype::Q4_1) => return avx2::q4_1(bytes, out),
                _ => {}
            }
        }
    }
    expand_plainly(isa, dtype, bytes, out);
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

#[cfg(test)]
mod tests;
