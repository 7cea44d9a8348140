//! The common 32-element forms in AVX-512: the compiler does badly on their nibbles.
//!
//! Same roundings as the plain loops: product, then sum, not fused.

use std::arch::x86_64::*;

/// An f16 as 16 equal f32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn half_at<const B: usize>(b: &[u8; B], at: usize) -> __m512 {
    let bits = i16::from_le_bytes([b[at], b[at + 1]]);
    _mm512_cvtph_ps(_mm256_set1_epi16(bits))
}

/// The 16 bytes from `at`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn bytes_at<const B: usize>(b: &[u8; B], at: usize) -> __m128i {
    let part: &[u8; 16] = b[at..at + 16].try_into().expect("16 bytes");
    // SAFETY: 16 bytes are there, the load needs no alignment.
    unsafe { _mm_loadu_si128(part.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn store(out: &mut [f32; 32], low: __m512, high: __m512) {
    // SAFETY: the array holds two vectors.
    unsafe {
        _mm512_storeu_ps(out.as_mut_ptr(), low);
        _mm512_storeu_ps(out.as_mut_ptr().add(16), high);
    }
}

/// Low and high nibbles as 32-bit integers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn nibbles(q: __m128i) -> (__m512i, __m512i) {
    let mask = _mm_set1_epi8(15);
    let high = _mm_and_si128(_mm_srli_epi16::<4>(q), mask);
    (_mm512_cvtepu8_epi32(_mm_and_si128(q, mask)), _mm512_cvtepu8_epi32(high))
}

/// Q8_0.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub fn q8_0(bytes: &[u8], out: &mut [f32]) {
    for (b, out) in bytes.as_chunks::<34>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let d = half_at(b, 0);
        let part = |at| _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes_at(b, at))), d);
        store(out, part(2), part(18));
    }
}

/// Q4_0.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub fn q4_0(bytes: &[u8], out: &mut [f32]) {
    let eight = _mm512_set1_epi32(8);
    for (b, out) in bytes.as_chunks::<18>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let d = half_at(b, 0);
        let (low, high) = nibbles(bytes_at(b, 2));
        let value = |q| _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(q, eight)), d);
        store(out, value(low), value(high));
    }
}

/// Q4_1.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub fn q4_1(bytes: &[u8], out: &mut [f32]) {
    for (b, out) in bytes.as_chunks::<20>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let (d, m) = (half_at(b, 0), half_at(b, 2));
        let (low, high) = nibbles(bytes_at(b, 4));
        let value = |q| _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(q), d), m);
        store(out, value(low), value(high));
    }
}
