//! Row moves over the threads.

use crate::context::Context;
use crate::dequant;
use crate::rows::reference;
use crate::weight::WeightBytes;

/// Elements per task.
const TASK_ELEMENTS: usize = 64 * 1024;

/// Contract: `Backend::embed`.
pub fn embed(ctx: &Context, table: &WeightBytes, ids: &[u32], out: &mut [f32]) {
    let c = table.cols;
    if c == 0 {
        return;
    }
    let rows = (TASK_ELEMENTS / c).max(1);
    let items = ids.chunks(rows).zip(out[..ids.len() * c].chunks_mut(rows * c));
    ctx.pool.for_each(items, |(ids, out)| {
        for (&id, out) in ids.iter().zip(out.chunks_exact_mut(c)) {
            dequant::expand_row(ctx.mode.isa, table, id as usize, 0..c, out);
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

/// Contract: `Backend::add`.
pub fn add(ctx: &Context, x: &[f32], y: &mut [f32]) {
    ctx.pool.for_each(x.chunks(TASK_ELEMENTS).zip(y.chunks_mut(TASK_ELEMENTS)), |(x, y)| {
        reference::add(x, y);
    });
}
