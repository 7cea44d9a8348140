//! The common nibble forms in AVX2: the compiler does badly on them.
//!
//! Same roundings as the plain loops: product, then sum, not fused.

use std::arch::x86_64::*;

use super::reference::f16_to_f32;

#[target_feature(enable = "avx2")]
fn half_at<const B: usize>(b: &[u8; B], at: usize) -> __m256 {
    _mm256_set1_ps(f16_to_f32(u16::from_le_bytes([b[at], b[at + 1]])))
}

/// The nibbles of the 16 bytes from `at` as 4 vectors of 32-bit integers: low ones, then high ones.
#[target_feature(enable = "avx2")]
fn nibbles<const B: usize>(b: &[u8; B], at: usize) -> [__m256i; 4] {
    let part: &[u8; 16] = b[at..at + 16].try_into().expect("16 bytes");
    // SAFETY: 16 bytes are there, the load needs no alignment.
    let q = unsafe { _mm_loadu_si128(part.as_ptr().cast()) };
    let mask = _mm_set1_epi8(15);
    let low = _mm_and_si128(q, mask);
    let high = _mm_and_si128(_mm_srli_epi16::<4>(q), mask);
    [
        _mm256_cvtepu8_epi32(low),
        _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(low)),
        _mm256_cvtepu8_epi32(high),
        _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(high)),
    ]
}

#[target_feature(enable = "avx2")]
fn store(out: &mut [f32; 32], values: [__m256; 4]) {
    for (out, value) in out.as_chunks_mut::<8>().0.iter_mut().zip(values) {
        // SAFETY: the chunk holds one vector.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), value) };
    }
}

/// Q4_0.
#[target_feature(enable = "avx2")]
pub fn q4_0(bytes: &[u8], out: &mut [f32]) {
    let eight = _mm256_set1_epi32(8);
    for (b, out) in bytes.as_chunks::<18>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let d = half_at(b, 0);
        let value = |q| _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(q, eight)), d);
        let [q0, q1, q2, q3] = nibbles(b, 2);
        store(out, [value(q0), value(q1), value(q2), value(q3)]);
    }
}

/// Q4_1.
#[target_feature(enable = "avx2")]
pub fn q4_1(bytes: &[u8], out: &mut [f32]) {
    for (b, out) in bytes.as_chunks::<20>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let (d, m) = (half_at(b, 0), half_at(b, 2));
        let value = |q| _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(q), d), m);
        let [q0, q1, q2, q3] = nibbles(b, 4);
        store(out, [value(q0), value(q1), value(q2), value(q3)]);
    }
}
