//! Blocks of 256 elements with scales of their own for each 16 or 32.

use std::arch::x86_64::*;

use super::super::reference::scale_min;
use super::blocks::with_fifth;
use super::{Stored, count_from, half, narrow, wide, wide_halves};

/// GGUF Q4_K.
pub struct Q4K;
/// GGUF Q5_K.
pub struct Q5K;
/// GGUF Q6_K.
pub struct Q6K;

/// Scale and minimum of sub-block `j` of a Q4_K or Q5_K block.
///
/// # Safety
/// The block's first 16 bytes must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn k_scales(block: *const u8, j: usize) -> (__m512, __m512) {
    // SAFETY: by contract.
    unsafe {
        let (scale, min) = scale_min(&*block.add(4).cast::<[u8; 12]>(), j);
        let d = _mm512_mul_ps(half(block), _mm512_set1_ps(scale));
        (d, _mm512_mul_ps(half(block.add(2)), _mm512_set1_ps(min)))
    }
}

/// A shift count for a vector shift.
#[inline]
#[target_feature(enable = "sse2")]
fn by(count: usize) -> __m128i {
    _mm_cvtsi32_si128(count as i32)
}

impl Stored for Q4K {
    const BLOCK_LEN: usize = 256;
    const BLOCK_BYTES: usize = 144;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
        let (j, shift) = (g % 8, by(4 * (g % 2)));
        // SAFETY: offsets are those of the form's block. The permutation uses 4 bits of an index.
        unsafe {
            let block = row.add(144 * (g / 8));
            let (d, m) = k_scales(block, j);
            let values = _mm512_sub_ps(_mm512_mul_ps(d, count_from(0.0)), m);
            let q = block.add(16 + 32 * (j / 2));
            let pick = |q| _mm512_permutexvar_ps(_mm512_srl_epi32(q, shift), values);
            [pick(wide(q)), pick(wide(q.add(16)))]
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn pairs(row: *const u8, g: usize, _len: usize) -> __m512i {
        let (j, shift) = (g % 8, by(4 * (g % 2)));
        // SAFETY: as above. The permutation uses 5 bits of an index, and both halves of the table are equal.
        unsafe {
            let block = row.add(144 * (g / 8));
            let (d, m) = k_scales(block, j);
            let values = _mm512_sub_ps(_mm512_mul_ps(d, count_from(0.0)), m);
            let q = wide_halves(block.add(16 + 32 * (j / 2)));
            _mm512_permutexvar_epi16(_mm512_srl_epi16(q, shift), narrow(values, values))
        }
    }
}

impl Stored for Q5K {
    const BLOCK_LEN: usize = 256;
    const BLOCK_BYTES: usize = 176;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
        let (j, shift) = (g % 8, by(4 * (g % 2)));
        // SAFETY: offsets are those of the form's block. The permutation uses 5 bits of an index.
        unsafe {
            let block = row.add(176 * (g / 8));
            let (d, m) = k_scales(block, j);
            let values = |start| _mm512_sub_ps(_mm512_mul_ps(d, count_from(start)), m);
            let (low, high) = (values(0.0), values(16.0));
            let pick = |at: usize| {
                let q = _mm512_srl_epi32(wide(block.add(48 + 32 * (j / 2) + at)), shift);
                let q = _mm512_and_si512(q, _mm512_set1_epi32(15));
                let fifth = _mm512_test_epi32_mask(wide(block.add(16 + at)), _mm512_set1_epi32(1 << j));
                let index = _mm512_mask_add_epi32(q, fifth, q, _mm512_set1_epi32(16));
                _mm512_permutex2var_ps(low, index, high)
            };
            [pick(0), pick(16)]
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn pairs(row: *const u8, g: usize, _len: usize) -> __m512i {
        let (j, shift) = (g % 8, by(4 * (g % 2)));
        // SAFETY: as above.
        unsafe {
            let block = row.add(176 * (g / 8));
            let (d, m) = k_scales(block, j);
            let values = |start| _mm512_sub_ps(_mm512_mul_ps(d, count_from(start)), m);
            let q = _mm512_srl_epi16(wide_halves(block.add(48 + 32 * (j / 2))), shift);
            let q = _mm512_and_si512(q, _mm512_set1_epi16(15));
            let high = _mm256_loadu_si256(block.add(16).cast());
            let fifth = _mm256_test_epi8_mask(high, _mm256_set1_epi8((1u8 << j).cast_signed()));
            _mm512_permutexvar_epi16(with_fifth(q, fifth), narrow(values(0.0), values(16.0)))
        }
    }
}

impl Stored for Q6K {
    const BLOCK_LEN: usize = 256;
    const BLOCK_BYTES: usize = 210;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
        let (half_block, part) = (g % 8 / 4, g % 4);
        // SAFETY: offsets are those of the form's block.
        unsafe {
            let block = row.add(210 * (g / 8));
            let low = _mm256_loadu_si256(block.add(64 * half_block + 32 * (part % 2)).cast());
            let low = _mm256_and_si256(_mm256_srl_epi16(low, by(4 * (part / 2))), _mm256_set1_epi8(15));
            let high = _mm256_loadu_si256(block.add(128 + 32 * half_block).cast());
            let high = _mm256_and_si256(_mm256_srl_epi16(high, by(2 * part)), _mm256_set1_epi8(3));
            let q = _mm256_or_si256(low, _mm256_slli_epi16::<4>(high));
            let q = _mm256_sub_epi8(q, _mm256_set1_epi8(32));
            let (d, scales) = (half(block.add(208)), block.add(192 + 8 * half_block + 2 * part));
            let value = |q: __m128i, at: usize| {
                let scale = f32::from(*scales.add(at).cast::<i8>());
                let scale = _mm512_mul_ps(d, _mm512_set1_ps(scale));
                _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)))
            };
            [value(_mm256_castsi256_si128(q), 0), value(_mm256_extracti128_si256::<1>(q), 1)]
        }
    }
}
