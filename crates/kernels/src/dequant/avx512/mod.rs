//! Stored forms as AVX-512 vectors, 32 neighbouring elements at a time.
//!
//! Roundings are those of the plain loops: product, then sum, not fused. Forms of 4 and 5 bits have only 16 or 32
//! values in a scale's reach: these are computed once, with those roundings, and looked up by a permutation.

mod blocks;
mod plain;
mod super_blocks;

pub use blocks::*;
pub use plain::*;
pub use super_blocks::*;

use std::arch::x86_64::*;

/// Elements of a group: what one call of [`Stored`] expands.
pub const GROUP: usize = 32;

/// A stored form. `row` points at the row's first block, and group `g` is elements `32 g .. 32 g + 32` from there.
pub trait Stored {
    /// Elements per block.
    const BLOCK_LEN: usize;
    /// Bytes per block.
    const BLOCK_BYTES: usize;

    /// Group `g` as f32. Of a plain form, only the first `len` elements are read and the others are 0; forms of
    /// blocks have whole groups only and ignore `len`.
    ///
    /// # Safety
    /// The elements must be readable.
    unsafe fn singles(row: *const u8, g: usize, len: usize) -> [__m512; 2];

    /// Group `g` as bf16, nearest even; subnormal numbers become 0, as they would in a product.
    ///
    /// # Safety
    /// As [`Stored::singles`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn pairs(row: *const u8, g: usize, len: usize) -> __m512i {
        // SAFETY: same contract.
        let [low, high] = unsafe { Self::singles(row, g, len) };
        narrow(low, high)
    }
}

/// Two vectors of f32 as one of bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub fn narrow(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both are 512 bits of plain data.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The first `len` of 32 elements, one bit each.
#[inline(always)]
pub fn first(len: usize) -> u32 {
    u32::MAX >> (GROUP - len)
}

/// `by_form!(dtype, S => expression)`: the expression with `S` as the type of the form.
macro_rules! by_form {
    ($dtype:expr, $s:ident => $body:expr) => {
        $crate::dequant::avx512::by_form!(@arms $dtype, $s, $body,
            F32 F16 Bf16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4K Q5K Q6K)
    };
    (@arms $dtype:expr, $s:ident, $body:expr, $($form:ident)*) => {
        match $dtype {
            $($crate::weight::WeightDtype::$form => {
                type $s = $crate::dequant::avx512::$form;
                $body
            })*
        }
    };
}
pub(crate) use by_form;

/// Expands `out.len()` elements from the first block of `row` on.
///
/// # Safety
/// The elements must be readable. Forms of blocks need whole groups.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn expand<S: Stored>(row: *const u8, out: &mut [f32]) {
    let (groups, rest) = out.as_chunks_mut::<GROUP>();
    let whole = groups.len();
    for (g, out) in groups.iter_mut().enumerate() {
        // SAFETY: the group lies in the row; `out` holds two vectors.
        unsafe {
            let [low, high] = S::singles(row, g, GROUP);
            _mm512_storeu_ps(out.as_mut_ptr(), low);
            _mm512_storeu_ps(out.as_mut_ptr().add(16), high);
        }
    }
    if !rest.is_empty() {
        let mask = first(rest.len());
        // SAFETY: the masks keep to the elements that are there.
        unsafe {
            let [low, high] = S::singles(row, whole, rest.len());
            _mm512_mask_storeu_ps(rest.as_mut_ptr(), mask as u16, low);
            _mm512_mask_storeu_ps(rest.as_mut_ptr().wrapping_add(16), (mask >> 16) as u16, high);
        }
    }
}

/// An f16 as 16 equal f32.
///
/// # Safety
/// Two bytes must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn half(at: *const u8) -> __m512 {
    // SAFETY: by contract.
    let bits = unsafe { at.cast::<i16>().read_unaligned() };
    _mm512_cvtph_ps(_mm256_set1_epi16(bits))
}

/// `start, start + 1, ..`
#[inline]
#[target_feature(enable = "avx512f")]
fn count_from(start: f32) -> __m512 {
    let steps = _mm512_setr_ps(0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.);
    _mm512_add_ps(steps, _mm512_set1_ps(start))
}

/// 16 bytes as 32-bit integers.
///
/// # Safety
/// They must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn wide(at: *const u8) -> __m512i {
    // SAFETY: by contract.
    _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(at.cast()) })
}

/// 32 bytes as 16-bit integers.
///
/// # Safety
/// They must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn wide_halves(at: *const u8) -> __m512i {
    // SAFETY: by contract.
    _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(at.cast()) })
}
