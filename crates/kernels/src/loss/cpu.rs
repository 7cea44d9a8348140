//! Cross-entropy in chunks of rows and slices of the vocabulary. Logits exist only in pieces of a tile: each piece
//! becomes exponentials at once, and those of a block of the vocabulary are multiplied with its rows of the head while
//! they are in the cache.
//!
//! `e = exp(z - r)` of a logit `z` with a reference `r` per row is what the loss, `w (r + ln(sum e) - z[target])`, and
//! its gradient need. The gradient with respect to the logits is `f (e / sum e)` but for the target, with `f` the
//! scale times the row's weight, so the exponentials themselves are the left side of its product with the head. Their
//! row factor and the target's part are put right in the product's output, where the target's part, `f (p - 1)`, loses
//! no digits to rounding.
//!
//! Any reference is right as long as nothing overflows. The target's logit, computed first, is at hand and keeps the
//! sum above about 1. A chunk with a sum above [`LARGEST_SUM`] is done again with the rows' largest logits.
//!
//! Sums run over a slice in order, then over the slices in order. Slices depend on the vocabulary alone.

use std::cell::RefCell;
use std::ops::Range;

use crate::backend::LossSums;
use crate::context::{Context, Left};
use crate::dequant;
use crate::gemm::{self, Lhs, Matrix, Product, Side, Start, Term, Words, lhs_stride};
use crate::linear::thin;
use crate::numbers::{Number, Numbers, NumbersMut, either};
use crate::simd::{exp, mul_add, per_isa, round_bf16, sum_lanes};
use crate::weight::WeightBytes;

/// Most rows of a chunk. Each expands the head twice.
const CHUNK_ROWS: usize = 480;
/// Parts of the vocabulary at most; each is a task, and keeps a gradient of the chunk's rows.
const SLICES: usize = 16;
/// Slices are whole multiples of this.
const SLICE_STEP: usize = 96;
/// Exponentials of a row that are multiplied with the head at a time.
const BLOCK_OUTPUTS: usize = 1056;
/// Rows of a task that adds the slices' gradients.
const SUM_ROWS: usize = 16;
/// Above this a row's sum counts as overflow: its product with the head must stay finite.
const LARGEST_SUM: f64 = 1e30;
/// Lanes of sums of exponentials.
const LANES: usize = 32;

/// Bytes that `Backend::cross_entropy` over at most `n` rows of `c` numbers holds beside its inputs and outputs.
pub fn loss_bytes(n: usize, c: usize, operand_bytes: usize) -> usize {
    SLICES * n.min(CHUNK_ROWS) * (4 * c + BLOCK_OUTPUTS * operand_bytes)
}

/// Chunks of about equal size.
fn chunk_rows(n: usize) -> usize {
    n.div_ceil(n.div_ceil(CHUNK_ROWS).max(1))
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
    sum_lanes(sums)
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

/// The rows of a call that are worked on at the same time.
struct Chunk<'a> {
    ctx: &'a Context,
    hidden: Numbers<'a>,
    head: &'a WeightBytes,
    targets: &'a [u32],
    weights: &'a [f32],
    /// 0 for none.
    cap: f32,
}

/// What is found out about one slice of the vocabulary, or all of it, per row.
struct Found {
    /// Sum of exponentials.
    sum: Vec<f64>,
    /// Capped logit of the target, where the slice has it.
    target: Vec<f32>,
}

thread_local! {
    /// Exponentials of a block.
    static BLOCK: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

impl Chunk<'_> {
    fn rows(&self) -> usize {
        self.targets.len()
    }

    /// The target of a row, if the row counts.
    fn target(&self, row: usize) -> Option<usize> {
        (self.weights[row] != 0.0).then(|| self.targets[row] as usize)
    }

    fn capped(&self, z: f32) -> f32 {
        if self.cap == 0.0 { z } else { soft_cap::<false>(z, self.cap) }
    }

    /// Calls `f` for each row and its item, with the target's row of the head; with zeros for a row that does not
    /// count.
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

    /// Capped logits of the targets.
    fn target_logits(&self) -> Vec<f32> {
        let (c, isa) = (self.head.cols, self.ctx.mode.isa);
        let mut logits = vec![0.0; self.rows()];
        self.for_each_row(&mut logits, |row, of_target, logit| {
            let x = self.hidden.part(row * c, c);
            *logit = self.capped(either!(Numbers, x => dot_row(isa, x, of_target)));
        });
        logits
    }

    /// Parts of the vocabulary, which depend on its size alone.
    fn slices(&self) -> impl Iterator<Item = Range<usize>> {
        let (vocab, step) = (self.head.rows, self.head.rows.div_ceil(SLICES).next_multiple_of(SLICE_STEP));
        (0..vocab).step_by(step).map(move |start| start..vocab.min(start + step))
    }

    /// Largest capped logit of each row.
    fn largest_logits(&self) -> Vec<f32> {
        let left = self.ctx.left(self.hidden, self.rows(), self.head.cols);
        let mut slices: Vec<_> =
            self.slices().map(|slice| (slice, vec![f32::NEG_INFINITY; self.rows()])).collect();
        self.ctx.pool.for_each(&mut slices, |(slice, largest)| {
            let part = self.head.part(slice.clone());
            gemm::mapped_product(self.ctx.mode, left.all(), Matrix::Stored(&part), None, &mut |piece| {
                let rows = largest[piece.rows].iter_mut();
                for (largest, z) in rows.zip(piece.values.chunks_exact(piece.outputs.len())) {
                    *largest = z.iter().fold(*largest, |a, &z| a.max(z));
                }
            });
        });
        let largest =
            |row: usize| slices.iter().map(|(_, largest)| largest[row]).fold(f32::NEG_INFINITY, f32::max);
        (0..self.rows()).map(|row| self.capped(largest(row))).collect()
    }

    /// Exponentials of the logits in `block`, a part of the vocabulary: adds to the sums, and writes all but those of
    /// the targets to `out`.
    fn exponentials(
        &self,
        left: &Left<'_>,
        block: Range<usize>,
        reference: &[f32],
        found: &mut Found,
        out: Option<(NumbersMut<'_>, usize)>,
    ) {
        let mode = self.ctx.mode;
        let part = self.head.part(block.clone());
        gemm::mapped_product(mode, left.all(), Matrix::Stored(&part), out, &mut |piece| {
            let outputs = block.start + piece.outputs.start..block.start + piece.outputs.end;
            for (row, z) in piece.rows.zip(piece.values.chunks_exact_mut(outputs.len())) {
                let target = self.target(row).filter(|target| outputs.contains(target));
                let target = target.map(|target| target - outputs.start);
                if let Some(at) = target {
                    found.target[row] = self.capped(z[at]);
                }
                found.sum[row] += f64::from(exponentials(mode.isa, z, reference[row], self.cap));
                if let Some(at) = target {
                    z[at] = 0.0;
                }
                if mode.words() == Words::RoundedF32 {
                    round(mode.isa, z);
                }
            }
        });
    }

    /// All of one slice. Adds the product of its exponentials with the head to `gradient`, if there is one.
    fn slice(
        &self,
        left: &Left<'_>,
        slice: Range<usize>,
        reference: &[f32],
        gradient: Option<&mut [f32]>,
    ) -> Found {
        let (mode, rows, c) = (self.ctx.mode, self.rows(), self.head.cols);
        let mut found = Found { sum: vec![0.0; rows], target: vec![0.0; rows] };
        let Some(gradient) = gradient else {
            self.exponentials(left, slice, reference, &mut found, None);
            return found;
        };
        gradient.fill(0.0);
        let words = mode.words();
        BLOCK.with_borrow_mut(|kept| {
            for start in slice.clone().step_by(BLOCK_OUTPUTS) {
                let block = start..slice.end.min(start + BLOCK_OUTPUTS);
                let stride = lhs_stride(words, &[block.len()]);
                kept.resize((rows * stride).max(kept.len()), 0);
                let kept = &mut kept[..rows * stride];
                // A last pair may have no second number.
                kept.chunks_exact_mut(stride).for_each(|row| row[words.count(block.len()) - 1] = 0);
                let out = (numbers(words, kept), stride * words.per_word());
                self.exponentials(left, block.clone(), reference, &mut found, Some(out));
                let part = self.head.part(block);
                let terms = [Term::new(Lhs { words: kept, stride, m: rows }, Matrix::Stored(&part))];
                let out = NumbersMut::F32(gradient);
                gemm::product_here(
                    mode,
                    &mut Product { side: Side::Cols, terms: &terms, start: Start::Out(None), out, stride: c },
                );
            }
        });
        found
    }

    /// All slices. The sums of their gradients are written to `dhidden`.
    fn pass(&self, reference: &[f32], dhidden: Option<&mut [f32]>) -> Found {
        let (rows, c) = (self.rows(), self.head.cols);
        let left = self.ctx.left(self.hidden, rows, c);
        let slices: Vec<_> = self.slices().collect();
        let size = if dhidden.is_some() { rows * c } else { 0 };
        let mut gradients = self.ctx.floats(slices.len() * size);
        let mut found: Vec<Option<Found>> = slices.iter().map(|_| None).collect();
        let mut rest = &mut gradients[..];
        let mut tasks = Vec::new();
        for (slice, found) in slices.iter().zip(&mut found) {
            let own;
            (own, rest) = rest.split_at_mut(size);
            tasks.push((slice.clone(), dhidden.is_some().then_some(own), found));
        }
        self.ctx.pool.for_each(tasks, |(slice, gradient, found)| {
            *found = Some(self.slice(&left, slice, reference, gradient));
        });
        let mut all = Found { sum: vec![0.0; rows], target: vec![0.0; rows] };
        for (slice, found) in slices.iter().zip(found.into_iter().flatten()) {
            for row in 0..rows {
                all.sum[row] += found.sum[row];
                if self.target(row).is_some_and(|target| slice.contains(&target)) {
                    all.target[row] = found.target[row];
                }
            }
        }
        if let (Some(dhidden), true) = (dhidden, size > 0) {
            let gradients = &gradients[..];
            self.ctx.pool.for_each(dhidden.chunks_mut(SUM_ROWS * c).enumerate(), |(i, out)| {
                out.fill(0.0);
                for gradient in gradients.chunks_exact(size) {
                    thin::add(&gradient[i * SUM_ROWS * c..][..out.len()], NumbersMut::F32(out));
                }
            });
        }
        all
    }

    /// As [`Chunk::pass`], with references that let no sum overflow. Returns them too.
    fn run(&self, mut dhidden: Option<&mut [f32]>) -> (Vec<f32>, Found) {
        let reference = self.target_logits();
        let found = self.pass(&reference, dhidden.as_deref_mut());
        // NaN is none of the fitting ones either.
        let fits = |row: usize| self.target(row).is_none() || found.sum[row] <= LARGEST_SUM;
        if (0..self.rows()).all(fits) {
            return (reference, found);
        }
        let reference = self.largest_logits();
        let found = self.pass(&reference, dhidden);
        (reference, found)
    }

    /// Puts `dhidden`, the product of the exponentials with the head, right.
    fn finish(&self, reference: &[f32], found: &Found, scale: f32, dhidden: &mut [f32]) {
        let (c, isa) = (self.head.cols, self.ctx.mode.isa);
        if c == 0 {
            return;
        }
        self.for_each_row(dhidden.chunks_exact_mut(c), |row, of_target, dhidden| {
            if self.target(row).is_none() {
                return dhidden.fill(0.0);
            }
            let (factor, z, sum) = (scale * self.weights[row], found.target[row], found.sum[row]);
            let e = f64::from(z - reference[row]).exp();
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
    let (c, n) = (head.cols, targets.len());
    let mut sums = LossSums::default();
    let chunk_rows = chunk_rows(n).max(1);
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
        let mut dhidden = dhidden.as_deref_mut().map(|dhidden| &mut dhidden[start * c..(start + rows) * c]);
        let (reference, found) = chunk.run(dhidden.as_deref_mut());
        if let Some(dhidden) = dhidden {
            chunk.finish(&reference, &found, scale, dhidden);
        }
        for row in (0..rows).filter(|&row| chunk.target(row).is_some()) {
            let weight = f64::from(chunk.weights[row]);
            let log_sum_exp = f64::from(reference[row]) + found.sum[row].ln();
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
