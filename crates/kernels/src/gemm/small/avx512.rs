//! Products of one stored row with up to 8 rows of words in AVX-512: each group of elements is expanded once,
//! in registers, for all of them.
//!
//! An output element is the sum of two vectors (with pairs of even and of odd groups, else of the first and of the
//! second halves of groups), added lane by lane, and then of its lanes in a tree.

use std::arch::x86_64::*;

use super::super::pack::{Words, avx512::single_words};
use super::{Left, MAX_M};
use crate::dequant::avx512::{GROUP, Stored, by_form};
use crate::weight::StoredRows;

/// `out[j]` = product of row `row` of the matrix with left row `j`.
///
/// # Safety
/// The instruction set of the words must be available.
pub unsafe fn row_products(
    words: Words,
    rows: &StoredRows<'_>,
    row: usize,
    left: &Left<'_>,
    out: &mut [f32],
) {
    let (k, m) = (rows.cols(), left.m);
    assert!((1..=MAX_M).contains(&m), "1 to {MAX_M} rows");
    let used = words.count(k.next_multiple_of(GROUP));
    assert!(left.words.len() >= (m - 1) * left.stride + used, "left side is too short");
    let own = Row { row: rows.row(row, 0..k).as_ptr(), k };
    // SAFETY: the row has `k` elements, and the left rows have as many, in whole groups.
    unsafe {
        by_form!(rows.dtype(), S => match (words, m) {
            (Words::Bf16Pairs, 1) => own.pairs::<S, 1>(left, out),
            (Words::Bf16Pairs, 2) => own.pairs::<S, 2>(left, out),
            (Words::Bf16Pairs, 3..=4) => own.pairs::<S, 4>(left, out),
            (Words::Bf16Pairs, _) => own.pairs::<S, MAX_M>(left, out),
            (Words::RoundedF32, 1) => own.singles::<S, 1, true>(left, out),
            (Words::RoundedF32, 2) => own.singles::<S, 2, true>(left, out),
            (Words::RoundedF32, 3..=4) => own.singles::<S, 4, true>(left, out),
            (Words::RoundedF32, _) => own.singles::<S, MAX_M, true>(left, out),
            (Words::F32, 1) => own.singles::<S, 1, false>(left, out),
            (Words::F32, 2) => own.singles::<S, 2, false>(left, out),
            (Words::F32, 3..=4) => own.singles::<S, 4, false>(left, out),
            (Words::F32, _) => own.singles::<S, MAX_M, false>(left, out),
        })
    }
}

/// A stored row of `k` elements.
struct Row {
    row: *const u8,
    k: usize,
}

/// Addresses of `M` left rows; those that do not exist stand at the last one, and their sums are dropped.
#[inline(always)]
fn addresses<const M: usize>(left: &Left<'_>) -> [*const u32; M] {
    std::array::from_fn(|j| left.words[j.min(left.m - 1) * left.stride..].as_ptr())
}

/// Adds up each sum's lanes: the second half to the first, and so on.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn finish<const M: usize>(sums: [[__m512; 2]; M], out: &mut [f32]) {
    if M == MAX_M {
        let s: [__m512; MAX_M] = std::array::from_fn(|j| _mm512_add_ps(sums[j][0], sums[j][1]));
        // Two, then four sums to a vector: a and b; a, c, b and d in quarters; a, e, c, g, .. in pairs of lanes.
        let halves =
            |a, b| _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
        let quarters =
            |a, b| _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let first = _mm512_castps_pd(quarters(halves(s[0], s[1]), halves(s[2], s[3])));
        let last = _mm512_castps_pd(quarters(halves(s[4], s[5]), halves(s[6], s[7])));
        let low = _mm512_castpd_ps(_mm512_unpacklo_pd(first, last));
        let both = _mm512_add_ps(low, _mm512_castpd_ps(_mm512_unpackhi_pd(first, last)));
        let mut lanes = [0.0f32; 16];
        // SAFETY: the array holds a vector.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), _mm512_add_ps(both, _mm512_movehdup_ps(both))) };
        for (j, o) in out.iter_mut().enumerate() {
            *o = lanes[j % 4 * 4 + j / 4 * 2];
        }
        return;
    }
    for (o, [a, b]) in out.iter_mut().zip(sums) {
        let sum = _mm512_add_ps(a, b);
        let sum = _mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps::<1>(sum));
        let sum = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        let sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
        *o = _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
    }
}

impl Row {
    /// Words of bf16 pairs.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn pairs<S: Stored, const M: usize>(&self, left: &Left<'_>, out: &mut [f32]) {
        let x = addresses::<M>(left);
        let mut sums = [[_mm512_setzero_ps(); 2]; M];
        let groups = self.k / GROUP;
        // SAFETY: the groups lie in the row and in the words; a vector of 16 words is one of 32 bf16.
        unsafe {
            for g in (0..groups / 2 * 2).step_by(2) {
                for odd in 0..2 {
                    add_pairs::<S, M>(self.row, g + odd, GROUP, x, odd, &mut sums);
                }
            }
            if groups % 2 == 1 {
                add_pairs::<S, M>(self.row, groups - 1, GROUP, x, 0, &mut sums);
            }
            let rest = self.k % GROUP;
            if S::BLOCK_LEN == 1 && rest > 0 {
                add_pairs::<S, M>(self.row, groups, rest, x, 1, &mut sums);
            }
        }
        finish(sums, out);
    }

    /// Words of f32; the matrix is rounded to bf16 if asked.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles<S: Stored, const M: usize, const ROUND: bool>(&self, left: &Left<'_>, out: &mut [f32]) {
        let x = addresses::<M>(left);
        let mut sums = [[_mm512_setzero_ps(); 2]; M];
        let groups = self.k / GROUP;
        // SAFETY: the groups lie in the row and in the words.
        unsafe {
            for g in 0..groups {
                add_singles::<S, M, ROUND>(self.row, g, GROUP, x, &mut sums);
            }
            let rest = self.k % GROUP;
            if S::BLOCK_LEN == 1 && rest > 0 {
                add_singles::<S, M, ROUND>(self.row, groups, rest, x, &mut sums);
            }
        }
        finish(sums, out);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn add_pairs<S: Stored, const M: usize>(
    row: *const u8,
    g: usize,
    len: usize,
    x: [*const u32; M],
    odd: usize,
    sums: &mut [[__m512; 2]; M],
) {
    // SAFETY: the group lies in the row and in the words; 16 words are 32 bf16.
    unsafe {
        let w = std::mem::transmute::<__m512i, __m512bh>(S::pairs(row, g, len));
        for (x, sums) in x.into_iter().zip(sums) {
            let x = _mm512_loadu_si512(x.add(g * GROUP / 2).cast());
            let x = std::mem::transmute::<__m512i, __m512bh>(x);
            sums[odd] = _mm512_dpbf16_ps(sums[odd], x, w);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn add_singles<S: Stored, const M: usize, const ROUND: bool>(
    row: *const u8,
    g: usize,
    len: usize,
    x: [*const u32; M],
    sums: &mut [[__m512; 2]; M],
) {
    // SAFETY: the group lies in the row and in the words.
    unsafe {
        let w = S::singles(row, g, len).map(|w| _mm512_castsi512_ps(single_words::<ROUND>(w)));
        for (x, sums) in x.into_iter().zip(sums) {
            let x = x.add(g * GROUP).cast::<f32>();
            sums[0] = _mm512_fmadd_ps(_mm512_loadu_ps(x), w[0], sums[0]);
            sums[1] = _mm512_fmadd_ps(_mm512_loadu_ps(x.add(16)), w[1], sums[1]);
        }
    }
}
