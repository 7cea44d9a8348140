//! Rounding of both sides of a product to 8-bit integers.
//!
//! A weight becomes `round(w / s)` with `s` the largest magnitude of its row by 127; a number of the left side
//! likewise, with one scale per row and [`GROUP`] numbers along the reduction. Sums of products of the integers are
//! exact, so every instruction set gives the same ones; each group's sum is widened to f32 and multiplied with both
//! scales.
//!
//! - [`Side::Rows`](super::Side::Rows), `x Wᵀ`: a weight's scale belongs to the output.
//! - [`Side::Cols`](super::Side::Cols), `g W`: it belongs to the reduction, so the left side is multiplied with it
//!   before it is rounded.
//!
//! Words hold four integers along the reduction, the first in the low byte. The instruction wants one side unsigned:
//! weights are stored plus 128, and a group's sum starts at `-128` times the sum of its left integers.
//! Source of the scheme: Dettmers et al., 2022 (LLM.int8), section 2.1, vector-wise quantisation.

use crate::dequant;
use crate::numbers::Number;
use crate::options::Isa;
use crate::simd::per_isa;
use crate::weight::WeightBytes;

/// Numbers of a left row that share a scale.
pub const GROUP: usize = 128;
/// Integers of a word.
pub const PER_WORD: usize = 4;
/// Words of a whole group.
pub const GROUP_WORDS: usize = GROUP / PER_WORD;
/// Words that a group leaves behind the row's own: its scale, and where its sum starts.
pub const MARK_WORDS: usize = 2;
/// The largest integer.
const LARGEST: f32 = 127.0;
/// Rows of smaller numbers than this become 0: the reciprocal of their scale would overflow.
const SMALLEST: f32 = 1e-34;
/// Adding it to a number of magnitude below 2^22 rounds it to an integer (ties to even) in the low bits.
const ROUND: f32 = 12_582_912.0;
/// Words of a cache line.
const LINE_WORDS: usize = 16;

/// Words from row to row of a left side of `len` integers and its marks, an odd number of cache lines.
pub fn stride(len: usize) -> usize {
    let lines = (marks_at(len) + len.div_ceil(GROUP) * MARK_WORDS).div_ceil(LINE_WORDS);
    LINE_WORDS * (lines + 1 - lines % 2)
}

/// Words of `len` integers; behind them are the marks of the groups.
pub fn marks_at(len: usize) -> usize {
    len.div_ceil(PER_WORD)
}

/// The scale of numbers of this largest magnitude: NaN or infinite if that is.
#[inline(always)]
fn scale_of(largest: f32) -> f32 {
    if largest < SMALLEST { 0.0 } else { largest / LARGEST }
}

/// What numbers are multiplied with before they are rounded.
#[inline(always)]
pub fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The nearest integer of a number of magnitude up to 127 and a rounding error. Anything for NaN.
#[inline(always)]
pub fn rounded(x: f32) -> i32 {
    (x + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed()
}

/// Four numbers, scaled, as a word of a panel.
#[inline(always)]
pub fn panel_word(number: impl Fn(usize) -> f32) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| (rounded(number(i)) + 128) as u8))
}

/// Scales of the rows of `w` from row `first` on.
pub fn row_scales(isa: Isa, w: &WeightBytes, first: usize, scales: &mut [f32]) {
    let mut row = vec![0.0f32; w.cols];
    for (n, scale) in scales.iter_mut().enumerate() {
        dequant::expand_row(isa, w, first + n, 0..w.cols, &mut row);
        *scale = scale_of(largest(isa, &row, &[]));
    }
}

per_isa! {
    /// Largest magnitude of `x`, times `fold` if that is not empty; NaN counts as larger than infinity.
    fn largest [T] (x: &[T], fold: &[f32]) -> f32 = largest_body;
}

#[inline(always)]
fn largest_body<T: Number>(x: &[T], fold: &[f32]) -> f32 {
    let mut bits = 0u32;
    if fold.is_empty() {
        for x in x {
            bits = bits.max(x.get().to_bits() & !(1 << 31));
        }
    } else {
        for (x, f) in x.iter().zip(fold) {
            bits = bits.max((x.get() * f).to_bits() & !(1 << 31));
        }
    }
    f32::from_bits(bits)
}

/// One row of a left side: its integers, then scale and start of each group. `out` has [`stride`] words.
pub fn left_row<T: Number>(isa: Isa, x: &[T], fold: Option<&[f32]>, out: &mut [u32]) {
    let (words, marks) = out.split_at_mut(marks_at(x.len()));
    let groups = x.chunks(GROUP).zip(words.chunks_mut(GROUP_WORDS));
    for (g, ((x, words), mark)) in groups.zip(marks.as_chunks_mut::<MARK_WORDS>().0).enumerate() {
        let fold = fold.map_or(&[][..], |fold| &fold[g * GROUP..][..x.len()]);
        let scale = scale_of(largest(isa, x, fold));
        let sum = round_group(isa, x, fold, inverse(scale), words);
        *mark = [scale.to_bits(), (-128 * sum).cast_unsigned()];
    }
}

per_isa! {
    /// Integers of `x` (times `fold`) times `inverse`, a missing last one 0. Returns their sum.
    fn round_group [T] (x: &[T], fold: &[f32], inverse: f32, words: &mut [u32]) -> i32 = round_group_body;
}

#[inline(always)]
fn round_group_body<T: Number>(x: &[T], fold: &[f32], inverse: f32, words: &mut [u32]) -> i32 {
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(words);
    let (bytes, rest) = bytes.split_at_mut(x.len());
    rest.fill(0);
    let mut sum = 0i32;
    if fold.is_empty() {
        for (o, x) in bytes.iter_mut().zip(x) {
            let q = rounded(x.get() * inverse);
            sum = sum.wrapping_add(i32::from(q as i8));
            *o = q as u8;
        }
    } else {
        for ((o, x), f) in bytes.iter_mut().zip(x).zip(fold) {
            let q = rounded(x.get() * f * inverse);
            sum = sum.wrapping_add(i32::from(q as i8));
            *o = q as u8;
        }
    }
    sum
}
