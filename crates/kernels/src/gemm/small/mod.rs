//! Products with few rows, for decoding: `out[M, N] (+)= scale * x Wᵀ`.
//!
//! Each row of the matrix is expanded once and multiplied with all rows of `x`, so the cost is that of reading
//! the stored matrix. Inputs are rounded as [`Mode`] says; the sum of an output element runs in interleaved f32
//! sums and a fixed tree, and does not depend on M.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use super::pack::{Words, lhs_row, stored_rows};
use super::plan::OutPtr;
use super::{Matrix, Mode, Start};
use crate::aligned::Aligned;
use crate::dequant;
use crate::options::Isa;
use crate::pool::Pool;
use crate::simd::{dot, mul_add, per_isa, reduce, round_bf16};
use crate::weight::StoredRows;

/// Most rows that take this path.
pub const MAX_M: usize = 8;
/// Elements of the matrix per task; a fixed size, so that tiny matrices stay on the calling thread.
const TASK_ELEMENTS: usize = 32 * 1024;
/// Rows of words are padded with 0 to whole groups of so many elements.
const GROUP: usize = 32;
thread_local! {
    static ROW: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The rows of `x` as words.
struct Left<'a> {
    /// `[m, stride]`; the words of a row, then 0.
    words: &'a [u32],
    /// Words from row to row.
    stride: usize,
    /// Rows.
    m: usize,
}

/// Products of row `i` of the matrix with all rows of `x`. `row` has its width.
fn row_products(
    mode: Mode,
    rows: &StoredRows<'_>,
    i: usize,
    left: &Left<'_>,
    row: &mut [f32],
    out: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if mode.isa <= Isa::Avx512 {
        // SAFETY: the instruction set is available, and its mode chose the words.
        return unsafe { avx512::row_products(mode.words(), rows, i, left, out) };
    }
    dequant::expand(mode.isa, rows.dtype(), rows.row(i, 0..rows.cols()), row);
    let round = mode.words() == Words::RoundedF32;
    plain_row_products(mode.isa, round, left.words, left.stride, row, out);
}

per_isa! {
    /// Products of one matrix row with all rows of f32 words; rounds `row` in place if asked.
    fn plain_row_products(round: bool, x: &[u32], stride: usize, row: &mut [f32], out: &mut [f32])
        = fma plain_row_products_body;
}

#[inline(always)]
fn plain_row_products_body<const FMA: bool>(
    round: bool,
    x: &[u32],
    stride: usize,
    row: &mut [f32],
    out: &mut [f32],
) {
    let x: &[f32] = bytemuck::cast_slice(x);
    if let ([o], true) = (&mut *out, round) {
        *o = reduce(&x[..row.len()], row, |sum, x, w| mul_add::<FMA>(x, round_bf16(w), sum));
        return;
    }
    if round {
        for x in row.iter_mut() {
            *x = round_bf16(*x);
        }
    }
    for (j, o) in out.iter_mut().enumerate() {
        *o = dot::<FMA>(&x[j * stride..][..row.len()], row);
    }
}

/// `out[M, N] (+)= scale * x Wᵀ`, `x` `[m, K]`, `m <= MAX_M`.
#[allow(clippy::too_many_arguments, reason = "the operands of one product")]
pub fn product(
    pool: &Pool,
    mode: Mode,
    x: &[f32],
    m: usize,
    matrix: Matrix<'_>,
    scale: f32,
    start: Start<'_>,
    out: &mut [f32],
) {
    let rows = stored_rows(&matrix);
    let (n, k) = (rows.rows(), rows.cols());
    assert!(m <= MAX_M && x.len() >= m * k, "few rows only");
    let out = &mut out[..m * n];
    if m == 0 || n == 0 {
        return;
    }
    let stride = mode.words().count(k.next_multiple_of(GROUP));
    // Rows begin on cache lines: loads across their borders count twice.
    let mut words = Aligned::default();
    let words = words.take(m * stride);
    for j in 0..m {
        lhs_row(mode.isa, mode.words(), 1.0, &x[j * k..][..k], &mut words[j * stride..]);
    }
    let left = Left { words, stride, m };
    let task_rows = (TASK_ELEMENTS / k.max(1)).max(1);
    let out_ptr = OutPtr(out.as_mut_ptr());
    pool.run(n.div_ceil(task_rows), |task| {
        ROW.with_borrow_mut(|row| {
            row.resize(k, 0.0);
            let mut sums = [0.0; MAX_M];
            for i in task * task_rows..n.min((task + 1) * task_rows) {
                row_products(mode, &rows, i, &left, row, &mut sums[..m]);
                for (j, sum) in sums[..m].iter().enumerate() {
                    // SAFETY: `j * n + i` lies in `out`, and column i belongs to this task alone.
                    let o = unsafe { &mut *out_ptr.get().add(j * n + i) };
                    *o = match start {
                        Start::Zero => scale * sum,
                        Start::Out(bias) => *o + bias.map_or(0.0, |bias| bias[i]) + scale * sum,
                        Start::Bias(bias) => bias[i] + scale * sum,
                    };
                }
            }
        });
    });
}
