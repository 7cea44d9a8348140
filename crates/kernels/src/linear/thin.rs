//! Small matters of low-rank factors: scaled copies, columns, and products that reduce over the token rows.

use std::ops::Range;

use crate::context::Context;
use crate::numbers::{Number, Numbers, NumbersMut, either};
use crate::simd::{mul_add, per_isa};

/// Columns that one task owns.
const TASK_COLUMNS: usize = 128;
/// Columns whose sums stay in registers.
const COLUMNS: usize = 32;
/// Factors whose sums stay in registers.
const FACTORS: usize = 8;
/// Token rows that are read for all columns of a task before the next ones.
const ROWS: usize = 128;

/// `out = s * x`.
pub fn scaled(s: f32, x: &[f32], out: &mut [f32]) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = s * x;
    }
}

/// `y += x`.
pub fn add(x: &[f32], y: NumbersMut<'_>) {
    either!(NumbersMut, y => add_numbers(x, y));
}

fn add_numbers<T: Number>(x: &[f32], y: &mut [T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = T::of(y.get() + x);
    }
}

/// `db[i, j] += x[j, i]`; `x` `[r, n]`, `db` `[n, r]`.
pub fn add_transposed(x: &[f32], r: usize, n: usize, db: &mut [f32]) {
    for (i, row) in db.chunks_exact_mut(r).enumerate() {
        for (j, db) in row.iter_mut().enumerate() {
            *db += x[j * n + i];
        }
    }
}

/// Columns `at..at + r` of `x` `[.., width]`.
pub fn columns(x: Numbers<'_>, width: usize, at: usize, r: usize, out: &mut [f32]) {
    either!(Numbers, x => {
        for (out, x) in out.chunks_exact_mut(r).zip(x.chunks_exact(width)) {
            out.iter_mut().zip(&x[at..at + r]).for_each(|(o, x)| *o = x.get());
        }
    });
}

/// Writes `x` `[.., r]` to the columns from `at` of `out` `[.., width]`.
pub fn set_columns(x: &[f32], r: usize, out: NumbersMut<'_>, width: usize, at: usize) {
    either!(NumbersMut, out => set_number_columns(x, r, out, width, at));
}

fn set_number_columns<T: Number>(x: &[f32], r: usize, out: &mut [T], width: usize, at: usize) {
    for (x, out) in x.chunks_exact(r).zip(out.chunks_exact_mut(width)) {
        out[at..at + r].iter_mut().zip(x).for_each(|(o, &x)| *o = T::of(x));
    }
}

per_isa! {
    /// `out[j, c] += sum over t of f[t, j] * x[t, c]` for up to [`FACTORS`] factors and [`COLUMNS`] columns;
    /// rows of `f` and `x` are `f_stride` and `x_stride` apart, of `out` `out_stride`.
    fn block_product[T, U](
        f: &[T], f_stride: usize, factors: usize, x: &[U], x_stride: usize, columns: usize, rows: usize,
        out: &mut [f32], out_stride: usize,
    ) = fma block_product_body;
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the operands of one product")]
fn block_product_body<const FMA: bool, T: Number, U: Number>(
    f: &[T],
    f_stride: usize,
    factors: usize,
    x: &[U],
    x_stride: usize,
    columns: usize,
    rows: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    let mut sums = [[0.0f32; COLUMNS]; FACTORS];
    if factors == FACTORS && columns == COLUMNS {
        for t in 0..rows {
            let f: &[T; FACTORS] = f[t * f_stride..][..FACTORS].try_into().expect("the length is given");
            let x: &[U; COLUMNS] = x[t * x_stride..][..COLUMNS].try_into().expect("the length is given");
            for j in 0..FACTORS {
                for c in 0..COLUMNS {
                    sums[j][c] = mul_add::<FMA>(f[j].get(), x[c].get(), sums[j][c]);
                }
            }
        }
    } else {
        for t in 0..rows {
            for j in 0..factors {
                for c in 0..columns {
                    sums[j][c] =
                        mul_add::<FMA>(f[t * f_stride + j].get(), x[t * x_stride + c].get(), sums[j][c]);
                }
            }
        }
    }
    for (j, sums) in sums.iter().take(factors).enumerate() {
        for (o, s) in out[j * out_stride..][..columns].iter_mut().zip(sums) {
            *o += s;
        }
    }
}

/// `out[j, c] = sum over t of f[t, j] * x[t, c]`: `f` `[T, width]`, of which `which` columns count, `x` `[T, n]`,
/// `out` `[which.len(), n]`. Inputs are rounded to operands. Sums run over blocks of [`ROWS`] rows in order.
#[allow(clippy::too_many_arguments, reason = "the operands of one product")]
pub fn transposed_product(
    ctx: &Context,
    f: Numbers<'_>,
    width: usize,
    which: Range<usize>,
    x: Numbers<'_>,
    n: usize,
    t: usize,
    out: &mut [f32],
) {
    let (first, count) = (which.start, which.len());
    let tasks = n.div_ceil(TASK_COLUMNS);
    let mut results: Vec<Vec<f32>> = vec![Vec::new(); tasks];
    either!(Numbers, f => either!(Numbers, x => {
        ctx.pool.for_each(results.iter_mut().enumerate(), |(task, result)| {
            let columns = task * TASK_COLUMNS..n.min((task + 1) * TASK_COLUMNS);
            *result = vec![0.0; count * columns.len()];
            for rows in (0..t).step_by(ROWS) {
                let len = ROWS.min(t - rows);
                for c in columns.clone().step_by(COLUMNS) {
                    for j in (0..count).step_by(FACTORS) {
                        let at = j * columns.len() + c - columns.start;
                        block_product(
                            ctx.mode.isa,
                            &f[rows * width + first + j..],
                            width,
                            FACTORS.min(count - j),
                            &x[rows * n + c..],
                            n,
                            COLUMNS.min(columns.end - c),
                            len,
                            &mut result[at..],
                            columns.len(),
                        );
                    }
                }
            }
        });
    }));
    for (task, result) in results.iter().enumerate() {
        let columns = task * TASK_COLUMNS..n.min((task + 1) * TASK_COLUMNS);
        for (j, row) in result.chunks_exact(columns.len()).enumerate() {
            out[j * n + columns.start..j * n + columns.end].copy_from_slice(row);
        }
    }
}
