//! What every op of the CPU backend needs: threads, mode, and scratch memory that is kept between calls.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::gemm::{Lhs, Mode, lhs_row, lhs_stride};
use crate::pool::Pool;

/// Scratch buffers kept for reuse; more are freed.
const KEPT_BUFFERS: usize = 8;
/// Rows of a left side that one task converts.
const LHS_TASK_ROWS: usize = 48;

/// Threads, mode and scratch.
pub struct Context {
    pub pool: Pool,
    pub mode: Mode,
    words: Stash<u32>,
    floats: Stash<f32>,
}

impl Context {
    pub fn new(pool: Pool, mode: Mode) -> Self {
        Self { pool, mode, words: Stash::default(), floats: Stash::default() }
    }

    /// Scratch numbers with unspecified content.
    pub fn floats(&self, len: usize) -> Scratch<'_, f32> {
        self.floats.take(len)
    }

    /// An empty left side for `m` rows of parts with these lengths.
    pub fn lhs(&self, m: usize, parts: &[usize]) -> LhsBuf<'_> {
        let stride = lhs_stride(self.mode.words(), parts);
        LhsBuf { words: self.words.take(m * stride), stride, m }
    }

    /// Converts `scale * x`, `[m, width]`, into the left side from word `at` of each row.
    pub fn fill_lhs(&self, lhs: &mut LhsBuf<'_>, at: usize, x: &[f32], width: usize, scale: f32) {
        let (m, stride, words) = (lhs.m, lhs.stride, self.mode.words());
        let chunks = lhs.words[..m * stride].chunks_mut(LHS_TASK_ROWS * stride);
        if width == 0 {
            return;
        }
        self.pool.for_each(chunks.zip(x[..m * width].chunks(LHS_TASK_ROWS * width)), |(out, x)| {
            for (out, x) in out.chunks_mut(stride).zip(x.chunks(width)) {
                lhs_row(self.mode.isa, words, scale, x, &mut out[at..]);
            }
        });
    }
}

/// A left side in the making.
pub struct LhsBuf<'a> {
    pub words: Scratch<'a, u32>,
    pub stride: usize,
    pub m: usize,
}

impl LhsBuf<'_> {
    /// The rows from `start`, `m` of them.
    pub fn rows(&self, start: usize, m: usize) -> Lhs<'_> {
        Lhs { words: &self.words[start * self.stride..(start + m) * self.stride], stride: self.stride, m }
    }

    /// All rows.
    pub fn all(&self) -> Lhs<'_> {
        self.rows(0, self.m)
    }
}

struct Stash<T> {
    kept: Mutex<Vec<Vec<T>>>,
}

impl<T> Default for Stash<T> {
    fn default() -> Self {
        Self { kept: Mutex::new(Vec::new()) }
    }
}

impl<T: Copy + Default> Stash<T> {
    fn take(&self, len: usize) -> Scratch<'_, T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest buffer that is large enough, else the largest one, which then grows.
        let best = (0..kept.len()).min_by_key(|&i| match kept[i].len() {
            have if have >= len => (0, have),
            have => (1, usize::MAX - have),
        });
        let mut data = best.map(|i| kept.swap_remove(i)).unwrap_or_default();
        drop(kept);
        if data.len() < len {
            // A fresh zeroed allocation is cheaper than growing, which would copy.
            data = vec![T::default(); len];
        }
        Scratch { data, len, stash: self }
    }
}

/// A scratch buffer that goes back when dropped.
pub struct Scratch<'a, T: Copy + Default> {
    data: Vec<T>,
    len: usize,
    stash: &'a Stash<T>,
}

impl<T: Copy + Default> Deref for Scratch<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.data[..self.len]
    }
}

impl<T: Copy + Default> DerefMut for Scratch<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[..self.len]
    }
}

impl<T: Copy + Default> Drop for Scratch<'_, T> {
    fn drop(&mut self) {
        let mut kept = self.stash.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_BUFFERS {
            kept.push(std::mem::take(&mut self.data));
        }
    }
}
