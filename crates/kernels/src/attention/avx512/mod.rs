//! AVX-512: words turned in registers, and the softmax for pairs of bf16.

pub mod fused;

use std::arch::x86_64::*;

use super::layout::Mask;
use super::softmax::{Gradients, Lanes, Scaled};
use crate::gemm::PANEL;

/// Largest relative error of [`exp2`]: the polynomial's 7.5e-5, its constants' and the roundings' share included.
/// Rounding to bf16, which follows, is off by up to 2^-9 = 2e-3.
#[cfg(test)]
const EXP2_ERROR: f64 = 3e-6;

/// `dst[c][r] = src[r][c]`, in blocks of 16 x 16 words.
///
/// # Safety
/// `src` must be valid for reads of `rows` rows of `cols` words, `src_stride` apart, and `dst` for writes of
/// `cols` rows of `rows` words, `dst_stride` apart.
#[target_feature(enable = "avx512f")]
pub unsafe fn transpose(
    src: *const u32,
    src_stride: usize,
    rows: usize,
    cols: usize,
    dst: *mut u32,
    dst_stride: usize,
) {
    let mask = |left: usize| u16::MAX >> (16 - left.min(16));
    for c0 in (0..cols).step_by(16) {
        for r0 in (0..rows).step_by(16) {
            let mut block = [_mm512_setzero_si512(); 16];
            if rows - r0 >= 16 && cols - c0 >= 16 {
                // In loops of a fixed length, so that the block stays in registers.
                for (r, line) in block.iter_mut().enumerate() {
                    // SAFETY: row r0 + r < rows, and it has 16 words from c0 on.
                    *line = unsafe { _mm512_loadu_si512(src.add((r0 + r) * src_stride + c0).cast()) };
                }
                for (c, line) in transpose16(block).into_iter().enumerate() {
                    // SAFETY: row c0 + c < cols of `dst`, and it has 16 words from r0 on.
                    unsafe { _mm512_storeu_si512(dst.add((c0 + c) * dst_stride + r0).cast(), line) };
                }
                continue;
            }
            let (reads, writes) = (mask(cols - c0), mask(rows - r0));
            for (r, line) in block.iter_mut().enumerate().take(rows - r0) {
                // SAFETY: row r0 + r < rows, and the mask keeps to its columns.
                *line =
                    unsafe { _mm512_maskz_loadu_epi32(reads, src.add((r0 + r) * src_stride + c0).cast()) };
            }
            let block = transpose16(block);
            for (c, &line) in block.iter().enumerate().take(cols - c0) {
                // SAFETY: row c0 + c < cols of `dst`, and the mask keeps to its `rows` words.
                unsafe {
                    _mm512_mask_storeu_epi32(dst.add((c0 + c) * dst_stride + r0).cast(), writes, line);
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn transpose16(x: [__m512i; 16]) -> [__m512i; 16] {
    let mut a = x;
    // 2 x 2 words, then 2 x 2 pairs of words inside 128-bit lanes.
    for i in (0..16).step_by(2) {
        a[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    let mut b = a;
    for i in (0..16).step_by(4) {
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    // b[4 * g + j] holds column 4 * l + j of rows 4 * g .. 4 * g + 4 in lane l: turn the 4 x 4 lanes.
    let mut out = b;
    for j in 0..4 {
        let low = _mm512_shuffle_i32x4::<0x88>(b[j], b[4 + j]);
        let odd = _mm512_shuffle_i32x4::<0xdd>(b[j], b[4 + j]);
        let low2 = _mm512_shuffle_i32x4::<0x88>(b[8 + j], b[12 + j]);
        let odd2 = _mm512_shuffle_i32x4::<0xdd>(b[8 + j], b[12 + j]);
        out[j] = _mm512_shuffle_i32x4::<0x88>(low, low2);
        out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(low, low2);
        out[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd, odd2);
        out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd, odd2);
    }
    out
}

/// 2^x, relative error below [`EXP2_ERROR`]; NaN kept, 0 for very small x. The polynomial is the one of degree 4
/// with the smallest largest relative error on 0..1.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn exp2(x: __m512) -> __m512 {
    // x - floor(x), in 0..1.
    let f = _mm512_reduce_ps::<0x09>(x);
    let p = _mm512_fmadd_ps(_mm512_set1_ps(0.013_534_167), f, _mm512_set1_ps(0.052_011_46));
    let p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.241_442_75));
    let p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693_003_8));
    let p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.000_002_6));
    // p * 2^floor(x).
    _mm512_scalef_ps(p, x)
}

/// One row of a panel: both vectors.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(x: &[f32; PANEL]) -> [__m512; 2] {
    // SAFETY: a row holds two vectors.
    unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(16))] }
}

/// Both vectors of one row.
#[inline]
#[target_feature(enable = "avx512f")]
fn store(to: &mut [f32; PANEL], x: [__m512; 2]) {
    // SAFETY: a row holds two vectors.
    unsafe {
        _mm512_storeu_ps(to.as_mut_ptr(), x[0]);
        _mm512_storeu_ps(to.as_mut_ptr().add(16), x[1]);
    }
}

/// Scores to probabilities; the constants are kept in registers.
struct Exponential {
    factor: __m512,
    shift: [__m512; 2],
}

impl Exponential {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(scaled: Scaled<'_>) -> Self {
        let log2_e = _mm512_set1_ps(std::f32::consts::LOG2_E);
        let shift = load(&scaled.shift.0);
        Self {
            factor: _mm512_set1_ps(scaled.scale * std::f32::consts::LOG2_E),
            shift: [_mm512_mul_ps(shift[0], log2_e), _mm512_mul_ps(shift[1], log2_e)],
        }
    }

    /// Of one row of scores.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn values(&self, s: [__m512; 2]) -> [__m512; 2] {
        [0, 1].map(|v| exp2(_mm512_fmsub_ps(s[v], self.factor, self.shift[v])))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn row(&self, scores: &[f32; PANEL], bits: u32) -> [__m512; 2] {
        let p = self.values(load(scores));
        [_mm512_maskz_mov_ps(bits as u16, p[0]), _mm512_maskz_mov_ps((bits >> 16) as u16, p[1])]
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn round(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both are 64 bytes of plain bits.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// Indices that pair number `i` of the first vector of 32 with number `i` of the second one, from `first` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn pair_indices(first: u32) -> __m512i {
    let mut index = [0u32; 16];
    for (i, index) in (first..).zip(&mut index) {
        *index = i | (32 + i) << 16;
    }
    // SAFETY: the array holds one vector.
    unsafe { _mm512_loadu_si512(index.as_ptr().cast()) }
}

/// Contract: `softmax::probabilities`.
///
/// # Safety
/// None beyond the instruction set.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
pub unsafe fn probabilities(
    scores: &[f32],
    mask: Mask,
    scaled: Scaled<'_>,
    sums: &mut Lanes,
    panel: &mut [u32],
) {
    let exponential = Exponential::new(scaled);
    let index = [pair_indices(0), pair_indices(16)];
    let rows = scores.as_chunks::<PANEL>().0;
    let full = mask.is_full(rows.len());
    let bits = |r: usize| if full { u32::MAX } else { mask.bits(r) };
    let mut sum = load(&sums.0);
    let pairs = rows.as_chunks::<2>().0.iter().zip(panel.as_chunks_mut::<PANEL>().0);
    for (k, ([first, second], panel)) in pairs.enumerate() {
        let a = exponential.row(first, bits(2 * k));
        let b = exponential.row(second, bits(2 * k + 1));
        for v in 0..2 {
            sum[v] = _mm512_add_ps(sum[v], _mm512_add_ps(a[v], b[v]));
        }
        let (a, b) = (round(a[0], a[1]), round(b[0], b[1]));
        for (v, &index) in index.iter().enumerate() {
            // SAFETY: a panel row holds two vectors.
            unsafe {
                let out = panel.as_mut_ptr().add(16 * v).cast();
                _mm512_storeu_si512(out, _mm512_permutex2var_epi16(a, index, b));
            }
        }
    }
    store(&mut sums.0, sum);
}

/// Contract: `softmax::gradients`.
///
/// # Safety
/// The rows and the panel of `out` must hold what is written: 16 words at each row's start, and one panel row
/// for two rows of `scores`; `dp` is as long as `scores`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
pub unsafe fn gradients(
    scores: &[f32],
    dp: &[f32],
    mask: Mask,
    scaled: Scaled<'_>,
    delta: &Lanes,
    out: Gradients<'_>,
) {
    let exponential = Exponential::new(scaled);
    let delta = load(&delta.0);
    let index = [pair_indices(0), pair_indices(16)];
    let rows = scores.as_chunks::<PANEL>().0;
    let full = mask.is_full(rows.len());
    let bits = |r: usize| if full { u32::MAX } else { mask.bits(r) };
    let (p_rows, ds_rows) = (out.p.as_mut_ptr(), out.ds.as_mut_ptr());
    let pairs = rows.as_chunks::<2>().0.iter().zip(dp.as_chunks::<PANEL>().0.as_chunks::<2>().0);
    for (k, ((scores, dp), panel)) in pairs.zip(out.panel.as_chunks_mut::<PANEL>().0).enumerate() {
        let mut both = [_mm512_setzero_si512(); 2];
        for (h, both) in both.iter_mut().enumerate() {
            let r = 2 * k + h;
            let bits = bits(r);
            let p = exponential.row(&scores[h], bits);
            let dp = load(&dp[h]);
            let ds = [0, 1].map(|v| {
                let seen = (bits >> (16 * v)) as u16;
                _mm512_maskz_mul_ps(seen, p[v], _mm512_sub_ps(dp[v], delta[v]))
            });
            *both = round(ds[0], ds[1]);
            // SAFETY: the caller vouches for 16 words at each row's start.
            unsafe {
                _mm512_storeu_si512(p_rows.add(r * out.stride).cast(), round(p[0], p[1]));
                _mm512_storeu_si512(ds_rows.add(r * out.stride).cast(), *both);
            }
        }
        for (v, &index) in index.iter().enumerate() {
            // SAFETY: a panel row holds two vectors.
            unsafe {
                let out = panel.as_mut_ptr().add(16 * v).cast();
                _mm512_storeu_si512(out, _mm512_permutex2var_epi16(both[0], index, both[1]));
            }
        }
    }
}

/// Dot product of numbers of one length.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn dot(a: &[u16], b: &[u16]) -> f32 {
    let mut sum = _mm512_setzero_ps();
    for (a, b) in a.chunks(32).zip(b.chunks(32)) {
        let mask = u32::MAX >> (32 - a.len().min(b.len()));
        // SAFETY: the mask keeps the reads to the chunks; vectors of 32 bf16 are plain bits.
        sum = unsafe {
            let a = _mm512_maskz_loadu_epi16(mask, a.as_ptr().cast());
            let b = _mm512_maskz_loadu_epi16(mask, b.as_ptr().cast());
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512i, __m512bh>(a),
                std::mem::transmute::<__m512i, __m512bh>(b),
            )
        };
    }
    _mm512_reduce_add_ps(sum)
}

#[cfg(test)]
mod tests {
    //! The exponential against the standard library.

    use super::*;

    #[test]
    fn exponential_keeps_its_bound() {
        if !is_x86_feature_detected!("avx512dq") {
            eprintln!("skipped: no AVX-512");
            return;
        }
        let of = |x: f32| {
            let mut out = [0.0f32; 16];
            // SAFETY: the instruction set is available, and the array holds one vector.
            unsafe {
                #[target_feature(enable = "avx512f,avx512dq")]
                unsafe fn one(x: f32, out: &mut [f32; 16]) {
                    // SAFETY: the array holds one vector.
                    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), exp2(_mm512_set1_ps(x))) };
                }
                one(x, &mut out);
            }
            out[0]
        };
        let mut largest = 0f64;
        for i in -125 * 4096..127 * 4096 {
            // Every border between polynomials, and 4,096 places between two of them.
            let x = i as f32 / 4096.0;
            let want = f64::from(x).exp2();
            let error = (f64::from(of(x)) - want).abs() / want;
            assert!(error <= EXP2_ERROR, "2^{x} is off by {error:e}");
            largest = largest.max(error);
        }
        assert!(largest > EXP2_ERROR / 2.0, "the bound is far from what is reached: {largest:e}");
        for x in [-200.0, -1e9, -1e30, f32::MIN] {
            assert_eq!(of(x), 0.0, "2^{x}");
        }
        assert_eq!(of(200.0), f32::INFINITY);
        assert!(of(f32::NAN).is_nan());
    }
}
