//! Rotation over the threads, with tables of sines and cosines that are kept.
//!
//! A table has one row per position from 0; it serves every layer, step and batch with its frequencies.

use std::sync::{Arc, Mutex, PoisonError};

use crate::context::Context;
use crate::numbers::{Number, Numbers, NumbersMut, either};
use crate::simd::per_isa;

/// Elements per task.
const TASK_ELEMENTS: usize = 32 * 1024;
/// Tables kept; a model has one or two sets of frequencies.
const KEPT_TABLES: usize = 4;

/// Cosines, then sines, of each position: `[positions, 2, head_dim / 2]`.
pub struct Table {
    inv_freq: Vec<f32>,
    values: Vec<f32>,
}

/// The last tables used, the newest last.
#[derive(Default)]
pub struct Tables {
    kept: Mutex<Vec<Arc<Table>>>,
}

impl Tables {
    /// A table of these frequencies that has all of these positions.
    pub fn get(&self, positions: &[u32], inv_freq: &[f32]) -> Arc<Table> {
        let rows = positions.iter().max().map_or(0, |&last| last as usize + 1);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|table| table.inv_freq == inv_freq).map(|i| kept.remove(i));
        let table = match found {
            Some(table) if table.values.len() >= rows * 2 * inv_freq.len() => table,
            _ => Arc::new(Table::new(rows.next_power_of_two(), inv_freq)),
        };
        if kept.len() == KEPT_TABLES {
            kept.remove(0);
        }
        kept.push(Arc::clone(&table));
        table
    }
}

impl Table {
    fn new(rows: usize, inv_freq: &[f32]) -> Self {
        let mut values = Vec::with_capacity(2 * rows * inv_freq.len());
        for position in 0..rows {
            let angles = inv_freq.iter().map(|f| position as f32 * f);
            values.extend(angles.clone().map(f32::cos));
            values.extend(angles.map(f32::sin));
        }
        Self { inv_freq: inv_freq.to_vec(), values }
    }
}

per_isa! {
    fn rotate[T, U](
        x: &[T], positions: &[u32], head_dim: usize, table: &[f32], width: usize, sign: f32, out: &mut [U],
    ) = rotate_body;
}

/// `width` is that of a row of `x`.
#[inline(always)]
fn rotate_body<T: Number, U: Number>(
    x: &[T],
    positions: &[u32],
    head_dim: usize,
    table: &[f32],
    width: usize,
    sign: f32,
    out: &mut [U],
) {
    let half = head_dim / 2;
    let rows = x.chunks_exact(width).zip(out.chunks_exact_mut(width)).zip(positions);
    for ((x, out), &position) in rows {
        let (cos, sin) = table[position as usize * 2 * half..][..2 * half].split_at(half);
        for (x, out) in x.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)) {
            let (x_low, x_high) = x.split_at(half);
            let (low, high) = out.split_at_mut(half);
            let inputs = x_low.iter().zip(x_high).zip(cos).zip(sin);
            for ((low, high), (((&a, &b), &cos), &sin)) in low.iter_mut().zip(high).zip(inputs) {
                let (a, b, sin) = (a.get(), b.get(), sign * sin);
                *low = U::of(a * cos - b * sin);
                *high = U::of(b * cos + a * sin);
            }
        }
    }
}

/// Contract: `Backend::rope`.
#[allow(clippy::too_many_arguments, reason = "the operands of one op")]
pub fn rope(
    ctx: &Context,
    x: Numbers<'_>,
    positions: &[u32],
    table: &Table,
    n_heads: usize,
    head_dim: usize,
    inverse: bool,
    out: NumbersMut<'_>,
) {
    let half = table.inv_freq.len();
    assert_eq!(2 * half, head_dim, "one frequency per pair");
    let width = n_heads * head_dim;
    if width == 0 {
        return;
    }
    let rows = (TASK_ELEMENTS / width).max(1);
    let n = positions.len() * width;
    let sign = if inverse { -1.0 } else { 1.0 };
    let (x, out) = (x.part(0, n), out.first(n));
    either!(Numbers, x => either!(NumbersMut, out => {
        let items = x.chunks(rows * width).zip(out.chunks_mut(rows * width)).zip(positions.chunks(rows));
        ctx.pool.for_each(items, |((x, out), positions)| {
            rotate(ctx.mode.isa, x, positions, head_dim, &table.values, width, sign, out);
        });
    }));
}
