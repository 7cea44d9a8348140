//! Small matters of low-rank factors: scaled copies, columns, and products that reduce over the token rows.

use std::ops::Range;

use crate::context::Context;
use crate::gemm::Words;
use crate::numbers::{Number, Numbers, NumbersMut, either};
use crate::options::Isa;
use crate::simd::{mul_add, per_isa, to_bf16};

/// Columns that one task owns.
const TASK_COLUMNS: usize = 128;
/// Token rows that one pass over the sums adds up.
const TOGETHER: usize = 4;

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
    /// `y += sum of f[i] * x[i]` over [`TOGETHER`] rows.
    fn add_rows[T](f: [f32; TOGETHER], x: [&[T]; TOGETHER], y: &mut [f32]) = fma add_rows_body;
}

#[inline(always)]
fn add_rows_body<const FMA: bool, T: Number>(f: [f32; TOGETHER], x: [&[T]; TOGETHER], y: &mut [f32]) {
    let [x0, x1, x2, x3] = x;
    for ((((y, &x0), &x1), &x2), &x3) in y.iter_mut().zip(x0).zip(x1).zip(x2).zip(x3) {
        let sum = mul_add::<FMA>(f[0], x0.get(), *y);
        let sum = mul_add::<FMA>(f[1], x1.get(), sum);
        let sum = mul_add::<FMA>(f[2], x2.get(), sum);
        *y = mul_add::<FMA>(f[3], x3.get(), sum);
    }
}

/// The columns that one task sums up: `out[j, c] = sum over t of f[t, j] * x[t, c]`.
struct Part<'a, U> {
    /// Factors, `[T, count]`.
    f: &'a [f32],
    count: usize,
    /// `[T, n]`.
    x: &'a [U],
    n: usize,
    columns: Range<usize>,
}

impl<U: Number> Part<'_, U> {
    /// Plain sums in order.
    fn sum(&self, isa: Isa, out: &mut [f32]) {
        let Self { f, count, x, n, ref columns } = *self;
        let zeros = vec![U::default(); columns.len()];
        for t in (0..f.len() / count).step_by(TOGETHER) {
            let rows: [&[U]; TOGETHER] = std::array::from_fn(|i| match x.get((t + i) * n..(t + i + 1) * n) {
                Some(row) if (t + i) * count < f.len() => &row[columns.clone()],
                _ => &zeros[..],
            });
            for (j, out) in out.chunks_exact_mut(columns.len()).enumerate() {
                let factors = std::array::from_fn(|i| f.get((t + i) * count + j).copied().unwrap_or(0.0));
                add_rows(isa, factors, rows, out);
            }
        }
    }
}

/// `out[j, c] = sum over t of f[t, j] * x[t, c]`: `f` `[T, width]`, of which the columns `which` count, `x` `[T, n]`,
/// `out` `[which.len(), n]`. Sums run along T in order, in pairs of bf16 where there is an instruction for it.
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
    let count = which.len();
    if t * count * n == 0 {
        out[..count * n].fill(0.0);
        return;
    }
    let mut factors = ctx.floats(t * count);
    columns(f.part(0, t * width), width, which.start, count, &mut factors);
    let mut parts: Vec<(Range<usize>, Vec<f32>)> =
        (0..n).step_by(TASK_COLUMNS).map(|start| (start..n.min(start + TASK_COLUMNS), Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    if let (Words::Bf16Pairs, Numbers::Bf16(x)) = (ctx.mode.words(), x) {
        let mut words = vec![0u32; t.div_ceil(2) * count];
        for (words, rows) in words.chunks_exact_mut(count).zip(factors.chunks(2 * count)) {
            for (j, word) in words.iter_mut().enumerate() {
                let second = rows.get(count + j).map_or(0, |&f| u32::from(to_bf16(f)));
                *word = u32::from(to_bf16(rows[j])) | second << 16;
            }
        }
        ctx.pool.for_each(&mut parts, |(columns, out)| {
            *out = vec![0.0; count * columns.len()];
            // SAFETY: words of bf16 pairs are chosen only where the instruction set is available.
            unsafe { super::avx512::sum_pairs(&words, count, &x[..t * n], n, columns.clone(), out) };
        });
        return join(&parts, n, out);
    }
    either!(Numbers, x => {
        ctx.pool.for_each(&mut parts, |(columns, out)| {
            *out = vec![0.0; count * columns.len()];
            Part { f: &factors, count, x, n, columns: columns.clone() }.sum(ctx.mode.isa, out);
        });
    });
    join(&parts, n, out);
}

/// Puts the columns of all tasks side by side.
fn join(parts: &[(Range<usize>, Vec<f32>)], n: usize, out: &mut [f32]) {
    for (columns, part) in parts {
        for (out, row) in out.chunks_exact_mut(n).zip(part.chunks_exact(columns.len())) {
            out[columns.clone()].copy_from_slice(row);
        }
    }
}
