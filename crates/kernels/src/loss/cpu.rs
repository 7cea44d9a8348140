//! Cross-entropy in chunks of rows. Logits exist only in pieces of a tile: each piece becomes exponentials at once.
//!
//! `e = exp(z - r)` of a logit `z` with a reference `r` per row is what the loss, `w (r + ln(sum e) - z[target])`, and
//! its gradient need. The gradient with respect to the logits is `f (e / sum e)` but for the target, with `f` the
//! scale times the row's weight, so the exponentials themselves are the left side of its product with the head. Their
//! row factor and the target's part are put right in the product's output, where the target's part, `f (p - 1)`, loses
//! no digits to rounding.
//!
//! Any reference is right as long as nothing overflows. The target's logit, computed first, is at hand and keeps the
//! sum above about 1. A chunk with a sum above [`LARGEST_SUM`] is done again with the rows' largest logits.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::backend::LossSums;
use crate::context::Context;
use crate::dequant;
use crate::gemm::{self, Lhs, Matrix, Piece, Side, Start, Words, lhs_stride};
use crate::numbers::{Number, Numbers, NumbersMut, either};
use crate::simd::{exp, mul_add, per_isa, round_bf16};
use crate::weight::WeightBytes;

/// Most exponentials that a gradient keeps at the same time, if that gives chunks of [`MIN_CHUNK_ROWS`].
const CHUNK_EXPONENTIALS: usize = 16 * 1024 * 1024;
/// Most rows of a chunk.
const CHUNK_ROWS: usize = 480;
/// Most rows of a chunk without a gradient, which keeps one sum per row and task.
const LOSS_CHUNK_ROWS: usize = 1024;
/// Rows of a chunk for large vocabularies: each chunk expands the head twice.
const MIN_CHUNK_ROWS: usize = 240;
/// Above this a row's sum counts as overflow: its product with the head must stay finite.
const LARGEST_SUM: f64 = 1e30;
/// Lanes of sums of exponentials.
const LANES: usize = 32;

/// Bytes of exponentials that `Backend::cross_entropy` over at most `n` rows with a gradient holds at the same time.
pub fn exponential_bytes(n: usize, vocab: usize, operand_bytes: usize) -> usize {
    most_rows(vocab).min(n) * vocab * operand_bytes
}

fn most_rows(vocab: usize) -> usize {
    (CHUNK_EXPONENTIALS / vocab.max(1)).clamp(MIN_CHUNK_ROWS, CHUNK_ROWS)
}

/// Chunks of about equal size: each costs one more expansion of the head.
fn chunk_rows(n: usize, most: usize) -> usize {
    n.div_ceil(n.div_ceil(most).max(1))
}

per_isa! {
    /// Logits, capped if `cap` is not 0, to `exp(z - reference)`; returns their sum. With a cap, what is left behind
    /// is multiplied with the slope of the cap.
    fn exponentials(z: &mut [f32], reference: f32, cap: f32) -> f32 = fma exponentials_body;
}

#[inline(always)]
fn exponentials_body<const FMA: bool>(z: &mut [f32], reference: f32, cap: f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (chunks, rest) = z.as_chunks_mut::<LANES>();
    for z in chunks {
        add_exponentials::<FMA>(z, LANES, reference, cap, &mut sums);
    }
    if !rest.is_empty() {
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        add_exponentials::<FMA>(&mut last, rest.len(), reference, cap, &mut sums);
        rest.copy_from_slice(&last[..rest.len()]);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Of the first `count` lanes.
#[inline(always)]
fn add_exponentials<const FMA: bool>(
    z: &mut [f32; LANES],
    count: usize,
    reference: f32,
    cap: f32,
    sums: &mut [f32; LANES],
) {
    if cap != 0.0 {
        for z in z.iter_mut() {
            *z = soft_cap::<FMA>(*z, cap);
        }
    }
    z[count..].fill(f32::NEG_INFINITY);
    let mut e = [0.0; LANES];
    for i in 0..LANES {
        e[i] = exp::<FMA>(z[i] - reference);
        sums[i] += e[i];
    }
    if cap != 0.0 {
        for i in 0..LANES {
            e[i] *= slope(z[i], cap);
        }
    }
    *z = e;
}

/// `c * tanh(z / c)`.
#[inline(always)]
fn soft_cap<const FMA: bool>(z: f32, c: f32) -> f32 {
    c * (2.0 / (1.0 + exp::<FMA>(-2.0 * (z / c))) - 1.0)
}

/// Slope of the cap where it gives `z`.
#[inline(always)]
fn slope(z: f32, c: f32) -> f32 {
    1.0 - z / c * (z / c)
}

per_isa! {
    /// Products of the rows of `x` and of the target's row of the head.
    fn dot_row [T] (x: &[T], w: &[f32]) -> f32 = dot_row_body;
}

#[inline(always)]
fn dot_row_body<T: Number>(x: &[T], w: &[f32]) -> f32 {
    let mut sum = 0.0;
    for (x, w) in x.iter().zip(w) {
        sum += x.get() * w;
    }
    sum
}

per_isa! {
    /// `out = a * out + b * w`.
    fn combine(a: f32, out: &mut [f32], b: f32, w: &[f32]) = fma combine_body;
}

#[inline(always)]
fn combine_body<const FMA: bool>(a: f32, out: &mut [f32], b: f32, w: &[f32]) {
    for (out, w) in out.iter_mut().zip(w) {
        *out = mul_add::<FMA>(a, *out, b * w);
    }
}

per_isa! {
    fn round(x: &mut [f32]) = round_body;
}

#[inline(always)]
fn round_body(x: &mut [f32]) {
    for x in x {
        *x = round_bf16(*x);
    }
}

/// f32 that tasks write and somebody reads after them.
struct Cells(Vec<AtomicU32>);

impl Cells {
    fn new(len: usize) -> Self {
        Self((0..len).map(|_| AtomicU32::new(0)).collect())
    }

    fn set(&self, i: usize, x: f32) {
        self.0[i].store(x.to_bits(), Ordering::Relaxed);
    }

    fn get(&self, i: usize) -> f32 {
        f32::from_bits(self.0[i].load(Ordering::Relaxed))
    }
}

/// The rows of a call that exist at the same time.
struct Chunk<'a> {
    ctx: &'a Context,
    hidden: Numbers<'a>,
    head: &'a WeightBytes,
    targets: &'a [u32],
    weights: &'a [f32],
    /// 0 for none.
    cap: f32,
}

/// What a pass over a chunk finds out, per row.
struct Found {
    reference: Vec<f32>,
    /// Sum of exponentials.
    sum: Vec<f64>,
    /// Capped logit of the target.
    target: Vec<f32>,
}

impl Chunk<'_> {
    fn rows(&self) -> usize {
        self.targets.len()
    }

    /// The target of a row, if the row counts.
    fn target(&self, row: usize) -> Option<usize> {
        (self.weights[row] != 0.0).then(|| self.targets[row] as usize)
    }

    /// Calls `f` for each row that counts, with the target's row of the head and the rest that belongs to it.
    fn for_each_row<T: Send>(&self, items: impl IntoIterator<Item = T>, f: impl Fn(usize, &[f32], T) + Sync) {
        let items: Vec<_> = items.into_iter().take(self.rows()).enumerate().collect();
        let isa = self.ctx.mode.isa;
        self.ctx.pool.for_each(items, |(row, item)| {
            let mut of_target = vec![0.0; self.head.cols];
            if let Some(target) = self.target(row) {
                dequant::expand_row(isa, self.head, target, 0..self.head.cols, &mut of_target);
            }
            f(row, &of_target, item);
        });
    }

    /// Logits of the targets, capped.
    fn target_logits(&self) -> Vec<f32> {
        let (c, isa) = (self.head.cols, self.ctx.mode.isa);
        let mut logits = vec![0.0; self.rows()];
        self.for_each_row(&mut logits, |row, of_target, logit| {
            let x = self.hidden.part(row * c, c);
            let z = either!(Numbers, x => dot_row(isa, x, of_target));
            *logit = if self.cap == 0.0 { z } else { soft_cap::<false>(z, self.cap) };
        });
        logits
    }

    /// Largest logit of each row, capped.
    fn largest_logits(&self) -> Vec<f32> {
        // Bits of f32 in an order that integers have, so that tasks may come in any order.
        let ordered = |x: f32| if x.is_sign_negative() { !x.to_bits() } else { x.to_bits() | 1 << 31 };
        let largest: Vec<AtomicU32> = (0..self.rows()).map(|_| AtomicU32::new(0)).collect();
        self.product(None, &|piece| {
            for (row, z) in piece.rows.zip(piece.values.chunks_exact(piece.outputs.len())) {
                let max = z.iter().fold(f32::NEG_INFINITY, |a, &z| a.max(z));
                largest[row].fetch_max(ordered(max), Ordering::Relaxed);
            }
        });
        let value = |bits: u32| f32::from_bits(if bits >> 31 == 0 { !bits } else { bits & !(1 << 31) });
        let cap = |z: f32| if self.cap == 0.0 { z } else { soft_cap::<false>(z, self.cap) };
        largest.into_iter().map(|x| cap(value(x.into_inner()))).collect()
    }

    fn product(&self, out: Option<(NumbersMut<'_>, usize)>, map: &gemm::Map<'_>) {
        let left = self.ctx.left(self.hidden, self.rows(), self.head.cols);
        let right = Matrix::Stored(self.head);
        gemm::mapped_product(&self.ctx.pool, self.ctx.mode, left.all(), right, out, map);
    }

    /// Exponentials of all logits but the targets', which count in the sums alone, into `out`.
    fn pass(&self, reference: Vec<f32>, out: Option<(NumbersMut<'_>, usize)>) -> Found {
        let (mode, rows) = (self.ctx.mode, self.rows());
        let columns = gemm::mapped_columns(mode, self.head.rows, self.head.cols);
        let (sums, logits) = (Cells::new(columns * rows), Cells::new(rows));
        self.product(out, &|Piece { rows: range, column, outputs, values }| {
            for (row, z) in range.zip(values.chunks_exact_mut(outputs.len())) {
                let target = self.target(row).filter(|target| outputs.contains(target));
                if let Some(target) = target {
                    let z = z[target - outputs.start];
                    logits.set(row, if self.cap == 0.0 { z } else { soft_cap::<false>(z, self.cap) });
                }
                sums.set(column * rows + row, exponentials(mode.isa, z, reference[row], self.cap));
                if let Some(target) = target {
                    z[target - outputs.start] = 0.0;
                }
                if mode.words() == Words::RoundedF32 {
                    round(mode.isa, z);
                }
            }
        });
        let mut sum = vec![0.0f64; rows];
        for column in 0..columns {
            for (row, sum) in sum.iter_mut().enumerate() {
                *sum += f64::from(sums.get(column * rows + row));
            }
        }
        let target = (0..rows).map(|row| logits.get(row)).collect();
        Found { reference, sum, target }
    }

    /// As [`Chunk::pass`], with references that let no sum overflow.
    fn run(&self, mut out: Option<(NumbersMut<'_>, usize)>) -> Found {
        let first = out.as_mut().map(|(out, stride)| (out.reborrow(), *stride));
        let found = self.pass(self.target_logits(), first);
        let overflows = |row: usize| self.target(row).is_some() && !(found.sum[row] <= LARGEST_SUM);
        if (0..self.rows()).any(overflows) { self.pass(self.largest_logits(), out) } else { found }
    }

    /// Puts `dhidden`, the product of the exponentials with the head, right.
    fn finish(&self, found: &Found, scale: f32, dhidden: &mut [f32]) {
        let (c, isa) = (self.head.cols, self.ctx.mode.isa);
        if c == 0 {
            return;
        }
        self.for_each_row(dhidden.chunks_exact_mut(c), |row, of_target, dhidden| {
            if self.target(row).is_none() {
                return dhidden.fill(0.0);
            }
            let (factor, z, sum) = (scale * self.weights[row], found.target[row], found.sum[row]);
            let e = f64::from(z - found.reference[row]).exp();
            let slope = if self.cap == 0.0 { 1.0 } else { slope(z, self.cap) };
            let of_others = (f64::from(factor) / sum) as f32;
            combine(isa, of_others, dhidden, factor * slope * (e / sum - 1.0) as f32, of_target);
        });
    }
}

/// Contract: `Backend::cross_entropy`.
#[allow(clippy::too_many_arguments, reason = "the operands of one op")]
pub fn cross_entropy(
    ctx: &Context,
    hidden: Numbers<'_>,
    head: &WeightBytes,
    targets: &[u32],
    weights: &[f32],
    scale: f32,
    softcap: Option<f32>,
    mut dhidden: Option<&mut [f32]>,
) -> LossSums {
    let (vocab, c, n) = (head.rows, head.cols, targets.len());
    let words = ctx.mode.words();
    let mut sums = LossSums::default();
    let most = if dhidden.is_some() { most_rows(vocab) } else { LOSS_CHUNK_ROWS };
    let chunk_rows = chunk_rows(n, most).max(1);
    let stride = lhs_stride(words, &[vocab]);
    let mut kept = ctx.words(if dhidden.is_some() { chunk_rows * stride } else { 0 });
    for start in (0..n).step_by(chunk_rows) {
        let rows = chunk_rows.min(n - start);
        let chunk = Chunk {
            ctx,
            hidden: hidden.part(start * c, rows * c),
            head,
            targets: &targets[start..start + rows],
            weights: &weights[start..start + rows],
            cap: softcap.unwrap_or(0.0),
        };
        let found = match dhidden.as_deref_mut() {
            None => chunk.run(None),
            Some(dhidden) => {
                let dhidden = &mut dhidden[start * c..(start + rows) * c];
                // A pair may have no second number.
                kept.chunks_exact_mut(stride).for_each(|row| row[words.count(vocab) - 1] = 0);
                let found = chunk.run(Some((numbers(words, &mut kept), stride * words.per_word())));
                let left = Lhs { words: &kept, stride, m: rows };
                let (right, out) = (Matrix::Stored(head), NumbersMut::F32(dhidden));
                gemm::product(&ctx.pool, ctx.mode, left, Side::Cols, right, Start::Zero, out);
                chunk.finish(&found, scale, dhidden);
                found
            }
        };
        for row in (0..rows).filter(|&row| chunk.target(row).is_some()) {
            let weight = f64::from(chunk.weights[row]);
            let log_sum_exp = f64::from(found.reference[row]) + found.sum[row].ln();
            sums.loss += weight * (log_sum_exp - f64::from(found.target[row]));
            sums.weight += weight;
        }
    }
    sums
}

/// Words as the numbers that they hold.
fn numbers(words: Words, kept: &mut [u32]) -> NumbersMut<'_> {
    match words {
        Words::F32 | Words::RoundedF32 => NumbersMut::F32(bytemuck::cast_slice_mut(kept)),
        Words::Bf16Pairs => NumbersMut::Bf16(bytemuck::cast_slice_mut(kept)),
    }
}
