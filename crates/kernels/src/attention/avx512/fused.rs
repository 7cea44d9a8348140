//! Scores of pairs of bf16 that never leave the registers: product, exponential and rounding of a few keys and 32
//! queries at a time.
//!
//! Most of the exponential runs beside the multiply-adds of the next keys, which do not wait for it.

use std::arch::x86_64::*;

use super::{Exponential, load, pair_indices, round, store};
use crate::attention::layout::Mask;
use crate::attention::softmax::{Gradients, Lanes, Running, Scaled};
use crate::attention::words::Left;
use crate::gemm::PANEL;

/// Keys of a tile at most: with two vectors of queries they fill 24 registers.
const KEYS: usize = 12;
/// Keys of a tile at most where scores and their gradients are summed side by side.
const GRADIENT_KEYS: usize = 6;

/// The same text for each pair of `$rows` keys. A loop over so much text stays a loop, and then what it indexes lies
/// in memory instead of registers.
macro_rules! each_pair {
    ($rows:expr, $pair:ident => $body:block) => {
        each_pair!(@ $rows, $pair, $body, 0 1 2 3 4 5)
    };
    (@ $rows:expr, $pair:ident, $body:block, $($i:literal)*) => {
        $(if 2 * $i < $rows {
            let $pair: usize = $i;
            $body
        })*
    };
}

/// What lanes keep whose bits are set; 0 in others.
#[inline]
#[target_feature(enable = "avx512f")]
fn keep(x: [__m512; 2], bits: u32) -> [__m512; 2] {
    [_mm512_maskz_mov_ps(bits as u16, x[0]), _mm512_maskz_mov_ps((bits >> 16) as u16, x[1])]
}

/// Words of the products of one call.
#[derive(Clone, Copy)]
struct Operands {
    /// Rows of keys, and of values for gradients.
    rows: [*const u32; 2],
    /// Words from row to row.
    stride: usize,
    /// Panels of queries, and of output gradients for gradients.
    panels: [*const u32; 2],
    /// Words of the reduction.
    depth: usize,
}

/// An even number of keys in tiles of about one height, each even and at most `most`: `(first, height)`.
fn tiles(keys: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let (pairs, count) = (keys / 2, keys.div_ceil(most));
    (0..count).map(move |i| {
        let (first, end) = (i * pairs / count, (i + 1) * pairs / count);
        (2 * first, 2 * (end - first))
    })
}

/// `sum + a * b`, pairs of bf16 added up.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
    // SAFETY: vectors of 32 bf16 are plain bits.
    unsafe {
        let (a, b) =
            (std::mem::transmute::<__m512i, __m512bh>(a), std::mem::transmute::<__m512i, __m512bh>(b));
        _mm512_dpbf16_ps(sum, a, b)
    }
}

/// Contract: `softmax::score_probabilities`.
///
/// # Safety
/// `k` must hold its rows, `q` a panel of `k.depth` words, and `panel` a row of words for two keys.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub unsafe fn probabilities(
    k: Left<'_>,
    q: &[u32],
    mask: Mask,
    scale: f32,
    state: &mut Running,
    panel: &mut [u32],
) -> bool {
    let operands =
        Operands { rows: [k.words.as_ptr(); 2], stride: k.stride, panels: [q.as_ptr(); 2], depth: k.depth };
    let mut running = *state;
    let mut softmax = Softmax {
        exponential: Exponential::new(Scaled { scale, shift: &state.shift }),
        sum: load(&state.sum.0),
        full: mask.is_full(k.rows),
        mask,
    };
    for (first, height) in tiles(k.rows, KEYS) {
        // SAFETY: the keys lie in the rows, and the panel has a row for two of them.
        unsafe {
            let start = (first == 0 && !running.started).then_some((scale, &mut running.shift));
            let out = panel.as_mut_ptr().add(first / 2 * PANEL);
            match height {
                12 => probability_tile::<12>(operands, first, start, &mut softmax, out),
                10 => probability_tile::<10>(operands, first, start, &mut softmax, out),
                8 => probability_tile::<8>(operands, first, start, &mut softmax, out),
                6 => probability_tile::<6>(operands, first, start, &mut softmax, out),
                4 => probability_tile::<4>(operands, first, start, &mut softmax, out),
                2 => probability_tile::<2>(operands, first, start, &mut softmax, out),
                _ => unreachable!("a tile has an even number of keys, 12 at most"),
            }
        }
    }
    let limit = _mm512_set1_ps(Running::LARGEST_SUM);
    let within = softmax.sum.map(|sum| _mm512_cmp_ps_mask::<_CMP_LE_OQ>(sum, limit));
    if within != [u16::MAX; 2] {
        return false;
    }
    store(&mut running.sum.0, softmax.sum);
    *state = running;
    true
}

/// What the tiles of one panel share.
struct Softmax {
    exponential: Exponential,
    sum: [__m512; 2],
    /// Whether all lanes see all keys.
    full: bool,
    mask: Mask,
}

impl Softmax {
    #[inline(always)]
    fn bits(&self, key: usize) -> u32 {
        if self.full { u32::MAX } else { self.mask.bits(key) }
    }
}

/// `start` chooses the shift: the maximum of this tile's scores times the factor.
///
/// # Safety
/// As [`probabilities`], for `MR` keys from `first`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn probability_tile<const MR: usize>(
    operands: Operands,
    first: usize,
    start: Option<(f32, &mut Lanes)>,
    softmax: &mut Softmax,
    out: *mut u32,
) {
    let mut scores = [[_mm512_setzero_ps(); 2]; MR];
    // SAFETY: reads one word of each of MR rows and two vectors of the panel per step, as the caller vouches.
    unsafe {
        let (mut k, mut q) = (operands.rows[0].add(first * operands.stride), operands.panels[0]);
        for _ in 0..operands.depth {
            let lanes = [_mm512_loadu_si512(q.cast()), _mm512_loadu_si512(q.add(16).cast())];
            for (r, scores) in scores.iter_mut().enumerate() {
                let key = _mm512_set1_epi32((*k.add(r * operands.stride)).cast_signed());
                for v in 0..2 {
                    scores[v] = dot(scores[v], key, lanes[v]);
                }
            }
            k = k.add(1);
            q = q.add(PANEL);
        }
    }
    if let Some((scale, shift)) = start {
        let scale = _mm512_set1_ps(scale);
        let mut max = load(&shift.0);
        each_pair!(MR, pair => {
            for r in [2 * pair, 2 * pair + 1] {
                let bits = softmax.bits(first + r);
                let [low, high] = scores[r].map(|s| _mm512_mul_ps(s, scale));
                max[0] = _mm512_mask_max_ps(max[0], bits as u16, low, max[0]);
                max[1] = _mm512_mask_max_ps(max[1], (bits >> 16) as u16, high, max[1]);
            }
        });
        store(&mut shift.0, max);
        softmax.exponential = Exponential::new(Scaled { scale: _mm512_cvtss_f32(scale), shift });
    }
    let index = [pair_indices(0), pair_indices(16)];
    let mut sum = softmax.sum;
    each_pair!(MR, pair => {
        let (r, bits) = (2 * pair, |r| softmax.bits(first + r));
        let mut a = softmax.exponential.values(scores[r]);
        let mut b = softmax.exponential.values(scores[r + 1]);
        if !softmax.full {
            (a, b) = (keep(a, bits(r)), keep(b, bits(r + 1)));
        }
        sum[0] = _mm512_add_ps(sum[0], _mm512_add_ps(a[0], b[0]));
        sum[1] = _mm512_add_ps(sum[1], _mm512_add_ps(a[1], b[1]));
        let (a, b) = (round(a[0], a[1]), round(b[0], b[1]));
        // SAFETY: the caller vouches for a row of two vectors per pair of keys.
        unsafe {
            let out = out.add(pair * PANEL);
            _mm512_storeu_si512(out.cast(), _mm512_permutex2var_epi16(a, index[0], b));
            _mm512_storeu_si512(out.add(16).cast(), _mm512_permutex2var_epi16(a, index[1], b));
        }
    });
    softmax.sum = sum;
}

/// Contract: `softmax::score_gradients`.
///
/// # Safety
/// `k` and `v` must hold their rows, `q` and `dout` a panel of `k.depth` words, the rows of `out` 16 words at
/// each row's start, and its panel a row of words for two keys.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub unsafe fn gradients(
    [k, v]: [Left<'_>; 2],
    [q, dout]: [&[u32]; 2],
    mask: Mask,
    scaled: Scaled<'_>,
    delta: &Lanes,
    out: &mut Gradients<'_>,
) {
    let operands = Operands {
        rows: [k.words.as_ptr(), v.words.as_ptr()],
        stride: k.stride,
        panels: [q.as_ptr(), dout.as_ptr()],
        depth: k.depth,
    };
    let softmax = Backward {
        exponential: Exponential::new(scaled),
        minus_delta: load(&delta.0).map(|delta| _mm512_sub_ps(_mm512_setzero_ps(), delta)),
        full: mask.is_full(k.rows),
        mask,
    };
    let (p, ds, panel) = (out.p.as_mut_ptr(), out.ds.as_mut_ptr(), out.panel.as_mut_ptr());
    for (first, height) in tiles(k.rows, GRADIENT_KEYS) {
        // SAFETY: the keys lie in the rows, and the outputs have rows for them.
        unsafe {
            let at = first * out.stride;
            let to = Written {
                p: p.add(at),
                ds: ds.add(at),
                stride: out.stride,
                panel: panel.add(first / 2 * PANEL),
            };
            match height {
                6 => gradient_tile::<6>(operands, first, &softmax, to),
                4 => gradient_tile::<4>(operands, first, &softmax, to),
                2 => gradient_tile::<2>(operands, first, &softmax, to),
                _ => unreachable!("a tile has an even number of keys, 6 at most"),
            }
        }
    }
}

/// What the tiles of one panel share.
struct Backward {
    exponential: Exponential,
    minus_delta: [__m512; 2],
    /// Whether all lanes see all keys.
    full: bool,
    mask: Mask,
}

/// Where a tile writes; see [`Gradients`].
struct Written {
    p: *mut u32,
    ds: *mut u32,
    stride: usize,
    panel: *mut u32,
}

/// # Safety
/// As [`gradients`], for `MR` keys from `first`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn gradient_tile<const MR: usize>(operands: Operands, first: usize, softmax: &Backward, out: Written) {
    let mut scores = [[_mm512_setzero_ps(); 2]; MR];
    let mut dp = [softmax.minus_delta; MR];
    // SAFETY: reads one word of each of MR rows and two vectors of the panel per step and product, as the
    // caller vouches.
    unsafe {
        let at = first * operands.stride;
        let [mut k, mut v] = operands.rows.map(|rows| rows.add(at));
        let [mut q, mut dout] = operands.panels;
        for _ in 0..operands.depth {
            let queries = [_mm512_loadu_si512(q.cast()), _mm512_loadu_si512(q.add(16).cast())];
            for (r, scores) in scores.iter_mut().enumerate() {
                let key = _mm512_set1_epi32((*k.add(r * operands.stride)).cast_signed());
                for i in 0..2 {
                    scores[i] = dot(scores[i], key, queries[i]);
                }
            }
            let douts = [_mm512_loadu_si512(dout.cast()), _mm512_loadu_si512(dout.add(16).cast())];
            for (r, dp) in dp.iter_mut().enumerate() {
                let value = _mm512_set1_epi32((*v.add(r * operands.stride)).cast_signed());
                for i in 0..2 {
                    dp[i] = dot(dp[i], value, douts[i]);
                }
            }
            (k, v) = (k.add(1), v.add(1));
            (q, dout) = (q.add(PANEL), dout.add(PANEL));
        }
    }
    let index = [pair_indices(0), pair_indices(16)];
    each_pair!(MR, pair => {
        let mut both = [_mm512_setzero_si512(); 2];
        for (h, both) in both.iter_mut().enumerate() {
            let r = 2 * pair + h;
            let mut p = softmax.exponential.values(scores[r]);
            let mut ds = [_mm512_mul_ps(p[0], dp[r][0]), _mm512_mul_ps(p[1], dp[r][1])];
            if !softmax.full {
                let bits = softmax.mask.bits(first + r);
                (p, ds) = (keep(p, bits), keep(ds, bits));
            }
            *both = round(ds[0], ds[1]);
            // SAFETY: the caller vouches for 16 words at each row's start.
            unsafe {
                _mm512_storeu_si512(out.p.add(r * out.stride).cast(), round(p[0], p[1]));
                _mm512_storeu_si512(out.ds.add(r * out.stride).cast(), *both);
            }
        }
        // SAFETY: the caller vouches for a row of two vectors per pair of keys.
        unsafe {
            let out = out.panel.add(pair * PANEL);
            _mm512_storeu_si512(out.cast(), _mm512_permutex2var_epi16(both[0], index[0], both[1]));
            _mm512_storeu_si512(out.add(16).cast(), _mm512_permutex2var_epi16(both[0], index[1], both[1]));
        }
    });
}

#[cfg(test)]
mod tests {
    //! How a range of keys is cut.

    use super::*;

    #[test]
    fn tiles_cover_an_even_number_of_keys() {
        for most in [GRADIENT_KEYS, KEYS] {
            for keys in (2..200).step_by(2) {
                let mut end = 0;
                for (first, height) in tiles(keys, most) {
                    assert_eq!(first, end);
                    assert!(height > 0 && height <= most && height % 2 == 0, "{height} of {keys}");
                    end += height;
                }
                assert_eq!(end, keys);
            }
        }
    }
}
