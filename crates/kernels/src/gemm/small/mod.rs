//! Products with few rows, for decoding: `out[M, N] (+)= scale * x Wᵀ`.
//!
//! Each row of the matrix is expanded once into L1 and multiplied with all rows of `x`, so the cost is that
//! of reading the stored matrix. Inputs are rounded as [`Mode`] says; the sum of an output element runs in
//! [`crate::simd::LANES`] interleaved f32 sums and a fixed tree, and does not depend on M.

use std::cell::RefCell;

use super::{Matrix, Mode, OutPtr, Start};
use crate::dequant;
use crate::options::Precision;
use crate::pool::Pool;
use crate::simd::{dot, mul_add, per_isa, reduce, round_bf16};

/// Most rows that take this path.
pub const MAX_M: usize = 8;
/// Elements of the matrix per task; a fixed size, so that tiny matrices stay on the calling thread.
const TASK_ELEMENTS: usize = 32 * 1024;

thread_local! {
    static ROW: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

per_isa! {
    /// Copies `x`, rounded to bf16 if asked.
    fn rounded(round: bool, x: &[f32], out: &mut [f32]) = rounded_body;
}

#[inline(always)]
fn rounded_body(round: bool, x: &[f32], out: &mut [f32]) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = if round { round_bf16(x) } else { x };
    }
}

per_isa! {
    /// Products of one matrix row with all rows of `x`; rounds `row` in place if asked.
    fn row_products(round: bool, x: &[f32], row: &mut [f32], out: &mut [f32]) = fma row_products_body;
}

#[inline(always)]
fn row_products_body<const FMA: bool>(round: bool, x: &[f32], row: &mut [f32], out: &mut [f32]) {
    if let ([o], true) = (&mut *out, round) {
        *o = reduce(x, row, |sum, x, w| mul_add::<FMA>(x, round_bf16(w), sum));
        return;
    }
    if round {
        for x in row.iter_mut() {
            *x = round_bf16(*x);
        }
    }
    if row.is_empty() {
        out.fill(0.0);
        return;
    }
    for (o, x) in out.iter_mut().zip(x.chunks_exact(row.len())) {
        *o = dot::<FMA>(x, row);
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
    let (n, k) = (matrix.rows(), matrix.cols());
    assert!(m <= MAX_M && x.len() >= m * k, "few rows only");
    let out = &mut out[..m * n];
    if m == 0 || n == 0 {
        return;
    }
    let round = mode.precision == Precision::Bf16;
    let mut own_x = vec![0.0; m * k];
    rounded(mode.isa, round, &x[..m * k], &mut own_x);
    let task_rows = (TASK_ELEMENTS / k.max(1)).max(1);
    let out_ptr = OutPtr(out.as_mut_ptr());
    pool.run(n.div_ceil(task_rows), |task| {
        ROW.with_borrow_mut(|row| {
            row.resize(k, 0.0);
            let mut sums = [0.0; MAX_M];
            for i in task * task_rows..n.min((task + 1) * task_rows) {
                match matrix {
                    Matrix::Stored(w) => {
                        dequant::expand_row(mode.isa, w, i, 0..k, row);
                    }
                    Matrix::Plain { data, stride, .. } => {
                        row.copy_from_slice(&data[i * stride..][..k]);
                    }
                }
                row_products(mode.isa, round, &own_x, row, &mut sums[..m]);
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
