//! Forms without blocks.

use std::arch::x86_64::*;

use super::{GROUP, Stored, first};

/// IEEE single.
pub struct F32;
/// IEEE half.
pub struct F16;
/// bfloat16.
pub struct Bf16;

impl Stored for F32 {
    const BLOCK_LEN: usize = 1;
    const BLOCK_BYTES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, len: usize) -> [__m512; 2] {
        let (mask, at) = (first(len), row.wrapping_add(4 * GROUP * g).cast::<f32>());
        // SAFETY: the masks keep to the elements that are there.
        unsafe {
            [
                _mm512_maskz_loadu_ps(mask as u16, at),
                _mm512_maskz_loadu_ps((mask >> 16) as u16, at.wrapping_add(16)),
            ]
        }
    }
}

/// The first `len` of 32 numbers of 16 bits.
///
/// # Safety
/// They must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn halves_at(row: *const u8, g: usize, len: usize) -> __m512i {
    // SAFETY: the mask keeps to the elements that are there.
    unsafe { _mm512_maskz_loadu_epi16(first(len), row.wrapping_add(2 * GROUP * g).cast()) }
}

impl Stored for F16 {
    const BLOCK_LEN: usize = 1;
    const BLOCK_BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, len: usize) -> [__m512; 2] {
        // SAFETY: same contract.
        let halves = unsafe { halves_at(row, g, len) };
        [
            _mm512_cvtph_ps(_mm512_castsi512_si256(halves)),
            _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(halves)),
        ]
    }
}

impl Stored for Bf16 {
    const BLOCK_LEN: usize = 1;
    const BLOCK_BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, len: usize) -> [__m512; 2] {
        // SAFETY: same contract.
        let halves = unsafe { halves_at(row, g, len) };
        let single = |half| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
        [single(_mm512_castsi512_si256(halves)), single(_mm512_extracti64x4_epi64::<1>(halves))]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn pairs(row: *const u8, g: usize, len: usize) -> __m512i {
        // SAFETY: same contract.
        unsafe { halves_at(row, g, len) }
    }
}
