//! Blocks of 32 elements.

use std::arch::x86_64::*;

use super::{Stored, count_from, half, narrow, wide};

/// GGUF Q8_0.
pub struct Q8_0;
/// GGUF Q4_0.
pub struct Q4_0;
/// GGUF Q4_1.
pub struct Q4_1;
/// GGUF Q5_0.
pub struct Q5_0;
/// GGUF Q5_1.
pub struct Q5_1;

/// 16 bytes as 32 numbers of 16 bits: the low nibble of each in the first 16, the high one in the others, with
/// the bits above the nibble left as they are.
///
/// # Safety
/// They must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn nibble_halves(at: *const u8) -> __m512i {
    // SAFETY: by contract.
    let bytes = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(at.cast()) });
    let shifts = _mm512_inserti64x4::<1>(_mm512_setzero_si512(), _mm256_set1_epi16(4));
    _mm512_srlv_epi16(_mm512_cvtepu8_epi16(bytes), shifts)
}

/// 32 bits that follow `at`.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn bits(at: *const u8) -> u32 {
    // SAFETY: by contract.
    unsafe { at.cast::<u32>().read_unaligned() }
}

impl Stored for Q8_0 {
    const BLOCK_LEN: usize = 32;
    const BLOCK_BYTES: usize = 34;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
        // SAFETY: a block has 34 bytes.
        unsafe {
            let block = row.add(34 * g);
            let d = half(block);
            let low = _mm512_cvtepi8_epi32(_mm_loadu_si128(block.add(2).cast()));
            let high = _mm512_cvtepi8_epi32(_mm_loadu_si128(block.add(18).cast()));
            [_mm512_mul_ps(_mm512_cvtepi32_ps(low), d), _mm512_mul_ps(_mm512_cvtepi32_ps(high), d)]
        }
    }
}

/// Elements of 4 bits: 16 values, and where the nibbles of a 32-element block are.
macro_rules! nibble_form {
    ($form:ident, $bytes:literal, $quants:literal, |$block:ident| $values:expr) => {
        impl Stored for $form {
            const BLOCK_LEN: usize = 32;
            const BLOCK_BYTES: usize = $bytes;

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
                // SAFETY: offsets are those of the form's block. The permutation uses 4 bits of an index.
                unsafe {
                    let $block = row.add($bytes * g);
                    let values: __m512 = $values;
                    let q = wide($block.add($quants));
                    [
                        _mm512_permutexvar_ps(q, values),
                        _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(q), values),
                    ]
                }
            }

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
            unsafe fn pairs(row: *const u8, g: usize, _len: usize) -> __m512i {
                // SAFETY: as above. The permutation uses 5 bits of an index, and both halves of the table are
                // equal, so that the fifth does not matter.
                unsafe {
                    let $block = row.add($bytes * g);
                    let values: __m512 = $values;
                    _mm512_permutexvar_epi16(nibble_halves($block.add($quants)), narrow(values, values))
                }
            }
        }
    };
}

nibble_form!(Q4_0, 18, 2, |block| _mm512_mul_ps(count_from(-8.0), half(block)));
nibble_form!(Q4_1, 20, 4, |block| {
    _mm512_add_ps(_mm512_mul_ps(count_from(0.0), half(block)), half(block.add(2)))
});

/// Elements of 5 bits: 32 values, where a 32-element block has the fifth bits and the nibbles.
macro_rules! five_bit_form {
    ($form:ident, $bytes:literal, $fifth:literal, $quants:literal, |$block:ident, $steps:ident| $values:expr,
        $start:literal
    ) => {
        impl Stored for $form {
            const BLOCK_LEN: usize = 32;
            const BLOCK_BYTES: usize = $bytes;

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
                // SAFETY: offsets are those of the form's block. The permutation uses 5 bits of an index.
                unsafe {
                    let $block = row.add($bytes * g);
                    let values = |$steps: __m512| -> __m512 { $values };
                    let (low, high) = (values(count_from($start)), values(count_from($start + 16.0)));
                    let (fifth, q) = (bits($block.add($fifth)), wide($block.add($quants)));
                    let nibble = |q| _mm512_and_si512(q, _mm512_set1_epi32(15));
                    let pick = |mask: u32, q| {
                        let index = _mm512_mask_or_epi32(q, mask as u16, q, _mm512_set1_epi32(16));
                        _mm512_permutex2var_ps(low, index, high)
                    };
                    [pick(fifth, nibble(q)), pick(fifth >> 16, _mm512_srli_epi32::<4>(q))]
                }
            }

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
            unsafe fn pairs(row: *const u8, g: usize, _len: usize) -> __m512i {
                // SAFETY: as above.
                unsafe {
                    let $block = row.add($bytes * g);
                    let values = |$steps: __m512| -> __m512 { $values };
                    let table = narrow(values(count_from($start)), values(count_from($start + 16.0)));
                    let q = _mm512_and_si512(nibble_halves($block.add($quants)), _mm512_set1_epi16(15));
                    _mm512_permutexvar_epi16(with_fifth(q, bits($block.add($fifth))), table)
                }
            }
        }
    };
}

/// Nibbles with the fifth bit set in the elements of the mask.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn with_fifth(q: __m512i, mask: u32) -> __m512i {
    _mm512_mask_add_epi16(q, mask, q, _mm512_set1_epi16(16))
}

five_bit_form!(Q5_0, 22, 2, 6, |block, steps| _mm512_mul_ps(steps, half(block)), -16.0);
five_bit_form!(
    Q5_1,
    24,
    4,
    8,
    |block, steps| _mm512_add_ps(_mm512_mul_ps(steps, half(block)), half(block.add(2))),
    0.0
);
