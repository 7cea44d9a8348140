//! What every op of the CPU backend needs: threads, mode, and scratch memory that is kept between calls.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::aligned::Aligned;
use crate::cpu::CpuBuf;
use crate::gemm::{Lhs, Mode, Words, int8, lhs_row, lhs_stride};
use crate::numbers::{Number, Numbers, either};
use crate::options::Isa;
use crate::pool::Pool;
use crate::weight::WeightBytes;

/// Scratch buffers kept for reuse; more are freed.
const KEPT_BUFFERS: usize = 8;
/// Rows of a left side that one task converts.
const LHS_TASK_ROWS: usize = 48;
/// Rows of a stored matrix whose scales one task finds.
const SCALES_TASK_ROWS: usize = 256;
/// Numbers of a row that are converted at a time.
const ROW_PART: usize = 512;

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

    /// Scratch words with unspecified content.
    pub fn words(&self, len: usize) -> Scratch<'_, u32> {
        self.words.take(len)
    }

    /// Operands of zeros.
    pub fn operands(&self, len: usize) -> CpuBuf {
        CpuBuf::new(self.mode.operand_form(), len)
    }

    /// As [`Context::left`], of numbers that live no longer.
    pub fn left_of_floats(&self, x: Scratch<'_, f32>, m: usize, width: usize) -> Left<'_> {
        let words = self.mode.words();
        let stride = lhs_stride(words, &[width]);
        let mut out = self.words.take(m * stride);
        for (out, x) in out.chunks_mut(stride).zip(x.chunks(width)) {
            lhs_row(self.mode.isa, words, 1.0, x, out);
        }
        Left::Converted { words: out, stride, m }
    }

    /// `x`, `[m, width]`, as the left side of products: as it is where its form allows, else converted.
    pub fn left<'a>(&'a self, x: Numbers<'a>, m: usize, width: usize) -> Left<'a> {
        let words = self.mode.words();
        let x = x.part(0, m * width);
        match x {
            Numbers::F32(x) if words == Words::F32 => {
                return Left::Own { words: bytemuck::cast_slice(x), stride: width, m };
            }
            Numbers::Bf16(x) if words == Words::Bf16Pairs && width.is_multiple_of(2) => {
                if let Ok(words) = bytemuck::try_cast_slice(x) {
                    return Left::Own { words, stride: width / 2, m };
                }
            }
            _ => {}
        }
        let stride = lhs_stride(words, &[width]);
        let mut scratch = self.words.take(m * stride);
        if m * width > 0 {
            let chunks = scratch.chunks_mut(LHS_TASK_ROWS * stride);
            either!(Numbers, x => {
                self.pool.for_each(chunks.zip(x.chunks(LHS_TASK_ROWS * width)), |(out, x)| {
                    for (out, x) in out.chunks_mut(stride).zip(x.chunks(width)) {
                        number_words(self.mode.isa, words, x, out);
                    }
                });
            });
        }
        Left::Converted { words: scratch, stride, m }
    }
}

impl Context {
    /// `x`, `[m, width]`, times `fold` `[width]` if there is one, as a left side of 8-bit integers.
    pub fn left_int8<'a>(&'a self, x: Numbers<'a>, m: usize, width: usize, fold: Option<&[f32]>) -> Left<'a> {
        let stride = int8::stride(width);
        let mut scratch = self.words.take(m * stride);
        if m * width > 0 {
            let chunks = scratch.chunks_mut(LHS_TASK_ROWS * stride);
            either!(Numbers, x => {
                let x = &x[..m * width];
                self.pool.for_each(chunks.zip(x.chunks(LHS_TASK_ROWS * width)), |(out, x)| {
                    for (out, x) in out.chunks_mut(stride).zip(x.chunks(width)) {
                        int8::left_row(self.mode.isa, x, fold, out);
                    }
                });
            });
        }
        Left::Converted { words: scratch, stride, m }
    }

    /// Scales of the rows of a stored matrix as 8-bit integers.
    pub fn int8_scales<'a>(&self, w: &'a WeightBytes) -> &'a [f32] {
        w.int8_scales(|| {
            let mut scales = vec![0.0; w.rows];
            let tasks = scales.chunks_mut(SCALES_TASK_ROWS).enumerate();
            self.pool.for_each(tasks, |(task, scales)| {
                int8::row_scales(self.mode.isa, w, task * SCALES_TASK_ROWS, scales);
            });
            scales
        })
    }
}

/// Words of a row of either form.
fn number_words<T: Number>(isa: Isa, words: Words, x: &[T], out: &mut [u32]) {
    let mut numbers = [0.0f32; ROW_PART];
    for (x, out) in x.chunks(ROW_PART).zip(out.chunks_mut(ROW_PART / words.per_word())) {
        for (number, x) in numbers.iter_mut().zip(x) {
            *number = x.get();
        }
        lhs_row(isa, words, 1.0, &numbers[..x.len()], out);
    }
}

/// A left side: the numbers of a buffer themselves, or converted.
pub enum Left<'a> {
    Own { words: &'a [u32], stride: usize, m: usize },
    Converted { words: Scratch<'a, u32>, stride: usize, m: usize },
}

impl Left<'_> {
    /// All rows.
    pub fn all(&self) -> Lhs<'_> {
        match self {
            Left::Own { words, stride, m } => Lhs { words, stride: *stride, m: *m },
            Left::Converted { words, stride, m } => Lhs { words, stride: *stride, m: *m },
        }
    }

    /// The rows from `start`, `m` of them.
    pub fn rows(&self, start: usize, m: usize) -> Lhs<'_> {
        let Lhs { words, stride, .. } = self.all();
        Lhs { words: &words[start * stride..(start + m) * stride], stride, m }
    }
}

struct Stash<T> {
    kept: Mutex<Vec<Aligned<T>>>,
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
        data.take(len);
        Scratch { data, len, stash: self }
    }
}

/// A scratch buffer that goes back when dropped.
pub struct Scratch<'a, T: Copy + Default> {
    data: Aligned<T>,
    len: usize,
    stash: &'a Stash<T>,
}

impl<T: Copy + Default> Deref for Scratch<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.data.first(self.len)
    }
}

impl<T: Copy + Default> DerefMut for Scratch<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.data.take(self.len)
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
