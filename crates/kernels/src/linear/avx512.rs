//! Products that reduce over token rows, by bf16 pairs along them.

use std::arch::x86_64::*;
use std::ops::Range;

/// Columns whose sums stay in registers, for [`FACTORS`] factors.
const COLUMNS: usize = 32;
/// Factors whose sums stay in registers.
const FACTORS: usize = 8;
/// Pairs of rows that are read for all columns of a task before the next ones: they stay in L1.
const PAIRS: usize = 48;

/// `out[j, c] += sum over t of f[t, j] * x[t, c]`. `f` holds pairs `(t, t + 1)` as words `[ceil(T/2), count]`, an odd
/// last one with 0; `x` `[T, n]` bf16; `out` `[count, columns.len()]`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl")]
pub fn sum_pairs(f: &[u32], count: usize, x: &[u16], n: usize, columns: Range<usize>, out: &mut [f32]) {
    let t = x.len() / n;
    assert!(f.len() == t.div_ceil(2) * count && columns.end <= n, "one factor per row");
    assert!(out.len() == count * columns.len(), "one sum per factor and column");
    let pairs = t.div_ceil(2);
    for first in (0..pairs).step_by(PAIRS) {
        let range = first..pairs.min(first + PAIRS);
        for c in columns.clone().step_by(COLUMNS) {
            let width = COLUMNS.min(columns.end - c);
            for j in (0..count).step_by(FACTORS) {
                let block = Block { f, count, x, n, t, c, width, j, range: range.clone() };
                let out = &mut out[j * columns.len() + c - columns.start..];
                match FACTORS.min(count - j) {
                    1 => block.sum::<1>(out, columns.len()),
                    2 => block.sum::<2>(out, columns.len()),
                    3 => block.sum::<3>(out, columns.len()),
                    4 => block.sum::<4>(out, columns.len()),
                    5 => block.sum::<5>(out, columns.len()),
                    6 => block.sum::<6>(out, columns.len()),
                    7 => block.sum::<7>(out, columns.len()),
                    _ => block.sum::<8>(out, columns.len()),
                }
            }
        }
    }
}

/// Pairs `range`, `width` columns from `c`, factors from `j`.
struct Block<'a> {
    f: &'a [u32],
    count: usize,
    x: &'a [u16],
    n: usize,
    t: usize,
    c: usize,
    width: usize,
    j: usize,
    range: Range<usize>,
}

impl Block<'_> {
    /// Adds the sums of `J` factors to `out`, whose rows are `stride` apart.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl")]
    fn sum<const J: usize>(&self, out: &mut [f32], stride: usize) {
        let mask = u32::MAX >> (COLUMNS - self.width);
        // Interleaves two rows into pairs: columns 0 to 15, and 16 to 31.
        let low = pair_order(0);
        let high = pair_order(16);
        let mut sums = [[_mm512_setzero_ps(); 2]; J];
        for pair in self.range.clone() {
            let row = |i: usize| {
                let row = 2 * pair + i;
                if row < self.t {
                    let x = &self.x[row * self.n + self.c..][..self.width];
                    // SAFETY: the mask keeps the read to the columns of the slice.
                    unsafe { _mm512_maskz_loadu_epi16(mask, x.as_ptr().cast()) }
                } else {
                    _mm512_setzero_si512()
                }
            };
            let (a, b) = (row(0), row(1));
            let (x0, x1) = (_mm512_permutex2var_epi16(a, low, b), _mm512_permutex2var_epi16(a, high, b));
            let factors = &self.f[pair * self.count + self.j..][..J];
            for (sums, &f) in sums.iter_mut().zip(factors) {
                let f = _mm512_set1_epi32(f.cast_signed());
                // SAFETY: a vector of 16 words is a vector of 32 bf16.
                unsafe {
                    let pairs = |x| std::mem::transmute::<__m512i, __m512bh>(x);
                    sums[0] = _mm512_dpbf16_ps(sums[0], pairs(f), pairs(x0));
                    sums[1] = _mm512_dpbf16_ps(sums[1], pairs(f), pairs(x1));
                }
            }
        }
        for (j, sums) in sums.iter().enumerate() {
            let out = &mut out[j * stride..][..self.width];
            for (v, &sum) in sums.iter().enumerate() {
                let mask = (mask >> (16 * v)) as u16;
                // SAFETY: the mask keeps reads and writes to the columns of the slice.
                unsafe {
                    let at = out.as_mut_ptr().wrapping_add(16 * v);
                    _mm512_mask_storeu_ps(at, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, at), sum));
                }
            }
        }
    }
}

/// Indices that interleave 16 numbers from `first` of two vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn pair_order(first: i16) -> __m512i {
    let index: [i16; 32] = std::array::from_fn(|i| first + i as i16 / 2 + 32 * (i as i16 % 2));
    // SAFETY: the array is one vector.
    unsafe { _mm512_loadu_si512(index.as_ptr().cast()) }
}
