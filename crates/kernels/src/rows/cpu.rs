//! Row moves over the threads.

use crate::backend::Columns;
use crate::context::Context;
use crate::dequant;
use crate::numbers::{Number, Numbers, NumbersMut, either};
use crate::rows::reference;
use crate::simd::per_isa;
use crate::weight::WeightBytes;

/// Elements per task.
const TASK_ELEMENTS: usize = 64 * 1024;

/// Contract: `Backend::embed`.
pub fn embed(ctx: &Context, table: &WeightBytes, ids: &[u32], scale: f32, out: &mut [f32]) {
    let c = table.cols;
    if c == 0 {
        return;
    }
    let rows = (TASK_ELEMENTS / c).max(1);
    let items = ids.chunks(rows).zip(out[..ids.len() * c].chunks_mut(rows * c));
    ctx.pool.for_each(items, |(ids, out)| {
        for (&id, out) in ids.iter().zip(out.chunks_exact_mut(c)) {
            dequant::expand_row(ctx.mode.isa, table, id as usize, 0..c, out);
            out.iter_mut().for_each(|x| *x *= scale);
        }
    });
}

/// Contract: `Backend::gather_rows`.
pub fn gather(ctx: &Context, x: &[f32], rows: &[u32], c: usize, out: &mut [f32]) {
    if c == 0 {
        return;
    }
    let step = (TASK_ELEMENTS / c).max(1);
    let items = rows.chunks(step).zip(out[..rows.len() * c].chunks_mut(step * c));
    ctx.pool.for_each(items, |(rows, out)| reference::gather(x, rows, c, out));
}

/// Contract: `Backend::scatter_rows`.
pub fn scatter(ctx: &Context, x: &[f32], rows: &[u32], c: usize, out: &mut [f32]) {
    if c == 0 {
        return;
    }
    // The row of `x` that goes to each row.
    let mut from = vec![None; out.len() / c];
    for (i, &row) in rows.iter().enumerate() {
        from[row as usize] = Some(i);
    }
    let step = (TASK_ELEMENTS / c).max(1);
    ctx.pool.for_each(from.chunks(step).zip(out.chunks_mut(step * c)), |(from, out)| {
        for (from, out) in from.iter().zip(out.chunks_exact_mut(c)) {
            match from {
                Some(i) => out.copy_from_slice(&x[i * c..][..c]),
                None => out.fill(0.0),
            }
        }
    });
}

per_isa! {
    fn convert_part[T, U](x: &[T], out: &mut [U]) = convert_body;
}

#[inline(always)]
fn convert_body<T: Number, U: Number>(x: &[T], out: &mut [U]) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = U::of(x.get());
    }
}

/// A copy, in the form of `out`.
pub fn convert(ctx: &Context, x: Numbers<'_>, out: NumbersMut<'_>) {
    assert_eq!(x.len(), out.len(), "copies have the length of what is copied");
    either!(Numbers, x => either!(NumbersMut, out => {
        ctx.pool.for_each(x.chunks(TASK_ELEMENTS).zip(out.chunks_mut(TASK_ELEMENTS)), |(x, out)| {
            convert_part(ctx.mode.isa, x, out);
        });
    }));
}

/// Contract: `Backend::copy_columns`.
pub fn copy_columns(
    ctx: &Context,
    src: Numbers<'_>,
    from: Columns,
    t: usize,
    width: usize,
    dst: NumbersMut<'_>,
    to: Columns,
) {
    assert!(from.start + width <= from.row && to.start + width <= to.row, "columns of the rows");
    if t * width == 0 {
        return;
    }
    let rows = (TASK_ELEMENTS / width).max(1);
    let (src, dst) = (src.part(0, t * from.row), dst.first(t * to.row));
    either!(Numbers, src => either!(NumbersMut, dst => {
        let items = src.chunks(rows * from.row).zip(dst.chunks_mut(rows * to.row));
        ctx.pool.for_each(items, |(src, dst)| {
            for (src, dst) in src.chunks_exact(from.row).zip(dst.chunks_exact_mut(to.row)) {
                let dst = &mut dst[to.start..to.start + width];
                convert_part(ctx.mode.isa, &src[from.start..from.start + width], dst);
            }
        });
    }));
}

/// Contract: `Backend::add`.
pub fn add(ctx: &Context, x: &[f32], y: &mut [f32]) {
    ctx.pool.for_each(x.chunks(TASK_ELEMENTS).zip(y.chunks_mut(TASK_ELEMENTS)), |(x, y)| {
        reference::add(x, y);
    });
}
