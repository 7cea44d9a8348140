//! Rotation over the threads, with the last table of sines and cosines kept.
//!
//! A step turns queries and keys of every layer by the same angles, so one table serves them all.

use std::sync::{Arc, Mutex, PoisonError};

use crate::context::Context;
use crate::simd::per_isa;

/// Elements per task.
const TASK_ELEMENTS: usize = 32 * 1024;

/// Cosines, then sines, of each row: `[T, 2, head_dim / 2]`.
struct Table {
    positions: Vec<u32>,
    inv_freq: Vec<f32>,
    values: Vec<f32>,
}

/// The last table.
#[derive(Default)]
pub struct Tables {
    last: Mutex<Option<Arc<Table>>>,
}

impl Tables {
    fn get(&self, positions: &[u32], inv_freq: &[f32]) -> Arc<Table> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = last.as_ref()
            && table.positions == positions
            && table.inv_freq == inv_freq
        {
            return Arc::clone(table);
        }
        let mut values = Vec::with_capacity(2 * positions.len() * inv_freq.len());
        for &position in positions {
            let angles = inv_freq.iter().map(|f| position as f32 * f);
            values.extend(angles.clone().map(f32::cos));
            values.extend(angles.map(f32::sin));
        }
        let table = Arc::new(Table { positions: positions.to_vec(), inv_freq: inv_freq.to_vec(), values });
        *last = Some(Arc::clone(&table));
        table
    }
}

per_isa! {
    fn rotate(x: &mut [f32], head_dim: usize, table: &[f32], width: usize, sign: f32) = rotate_body;
}

/// `width` is that of a row of `x`.
#[inline(always)]
fn rotate_body(x: &mut [f32], head_dim: usize, table: &[f32], width: usize, sign: f32) {
    let half = head_dim / 2;
    for (row, table) in x.chunks_exact_mut(width).zip(table.chunks_exact(2 * half)) {
        let (cos, sin) = table.split_at(half);
        for head in row.chunks_exact_mut(head_dim) {
            let (low, high) = head[..2 * half].split_at_mut(half);
            for (((a, b), &cos), &sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let (x, y, sin) = (*a, *b, sign * sin);
                *a = x * cos - y * sin;
                *b = y * cos + x * sin;
            }
        }
    }
}

/// Contract: `Backend::rope`.
#[allow(clippy::too_many_arguments, reason = "the operands of one op")]
pub fn rope(
    ctx: &Context,
    tables: &Tables,
    x: &mut [f32],
    positions: &[u32],
    n_heads: usize,
    head_dim: usize,
    inv_freq: &[f32],
    inverse: bool,
) {
    assert_eq!(inv_freq.len(), head_dim / 2, "one frequency per pair");
    let width = n_heads * head_dim;
    if width == 0 || inv_freq.is_empty() {
        return;
    }
    let table = tables.get(positions, inv_freq);
    let rows = (TASK_ELEMENTS / width).max(1);
    let items = x[..positions.len() * width]
        .chunks_mut(rows * width)
        .zip(table.values.chunks(rows * 2 * inv_freq.len()));
    let sign = if inverse { -1.0 } else { 1.0 };
    ctx.pool.for_each(items, |(x, table)| rotate(ctx.mode.isa, x, head_dim, table, width, sign));
}
