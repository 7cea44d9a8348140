//! Cross-entropy in chunks of rows: one product for the logits, one for the gradient.

use crate::backend::LossSums;
use crate::context::Context;
use crate::gemm::{self, Lhs, Matrix, Product, Side, Start, Term, Words, lhs_stride};
use crate::numbers::{Numbers, NumbersMut};
use crate::simd::{exp, per_isa, round_bf16, to_bf16};
use crate::weight::WeightBytes;

/// Most logits that exist at the same time (32 MiB), if that gives chunks of [`MIN_CHUNK_ROWS`].
const CHUNK_LOGITS: usize = 8 * 1024 * 1024;
/// Most rows of a chunk.
const CHUNK_ROWS: usize = 480;
/// Rows of a chunk for large vocabularies: each chunk expands the head twice.
const MIN_CHUNK_ROWS: usize = 192;
/// Elements of one f32 partial sum of exponentials; the partial sums are added in f64.
const SUM_BLOCK: usize = 4096;
/// Lanes of the maximum.
const LANES: usize = 64;

per_isa! {
    /// Log-sum-exp of a row; NaN if the row holds one.
    fn log_sum_exp(x: &[f32]) -> f64 = fma log_sum_exp_body;
}

#[inline(always)]
fn log_sum_exp_body<const FMA: bool>(x: &[f32]) -> f64 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    let max = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &x| if x > a { x } else { a });
    let mut total = 0.0f64;
    for block in x.chunks(SUM_BLOCK) {
        let sum = crate::simd::reduce(block, block, |s, x, _| s + exp::<FMA>(x - max));
        total += f64::from(sum);
    }
    f64::from(max) + total.ln()
}

per_isa! {
    /// `x = c * tanh(x / c)`.
    fn soft_cap(x: &mut [f32], c: f32) = fma soft_cap_body;
}

#[inline(always)]
fn soft_cap_body<const FMA: bool>(x: &mut [f32], c: f32) {
    for x in x {
        *x = c * (2.0 / (1.0 + exp::<FMA>(-2.0 * (*x / c))) - 1.0);
    }
}

/// Numbers that are turned into words at a time.
const PART: usize = 64;

per_isa! {
    /// Logits to words of the gradient, in the first words of the same row: `factor * exp(x - lse)`, less `factor`
    /// at the target, times the slope of the soft cap `c` if that is not 0.
    fn gradient_words(words: Words, row: &mut [u32], lse: f32, factor: f32, target: usize, c: f32)
        = fma gradient_words_body;
}

#[inline(always)]
fn gradient_words_body<const FMA: bool>(
    words: Words,
    row: &mut [u32],
    lse: f32,
    factor: f32,
    target: usize,
    c: f32,
) {
    let n = row.len();
    for start in (0..n).step_by(PART) {
        let len = PART.min(n - start);
        let mut part = [0.0f32; PART];
        for (x, bits) in part.iter_mut().zip(&row[start..start + len]) {
            *x = f32::from_bits(*bits);
        }
        let mut gradient = [0.0f32; PART];
        for (g, x) in gradient.iter_mut().zip(&part) {
            *g = factor * exp::<FMA>(*x - lse);
        }
        if (start..start + len).contains(&target) {
            gradient[target - start] -= factor;
        }
        if c != 0.0 {
            for (g, x) in gradient.iter_mut().zip(&part) {
                let tanh = x / c;
                *g *= 1.0 - tanh * tanh;
            }
        }
        // Words never take more room than logits, so what is overwritten was read.
        match words {
            Words::F32 => {
                for (o, g) in row[start..start + len].iter_mut().zip(&gradient) {
                    *o = g.to_bits();
                }
            }
            Words::RoundedF32 => {
                for (o, g) in row[start..start + len].iter_mut().zip(&gradient) {
                    *o = round_bf16(*g).to_bits();
                }
            }
            Words::Bf16Pairs => {
                gradient[len..].fill(0.0);
                let mut halves = [0u16; PART];
                for (half, g) in halves.iter_mut().zip(&gradient) {
                    *half = to_bf16(*g);
                }
                // The first of a pair is the low half, as machines with this form of words store it.
                let pairs: [u32; PART / 2] = bytemuck::cast(halves);
                let count = len.div_ceil(2);
                row[start / 2..start / 2 + count].copy_from_slice(&pairs[..count]);
            }
        }
    }
}

/// One row of a chunk.
struct Row<'a> {
    logits: &'a mut [f32],
    loss: &'a mut f64,
    target: u32,
    weight: f32,
}

impl Row<'_> {
    /// Writes the loss, and the words of the gradient over the logits if `scale` is given.
    fn run(self, ctx: &Context, words: Words, scale: Option<f32>, softcap: Option<f32>) {
        let isa = ctx.mode.isa;
        if self.weight == 0.0 {
            *self.loss = 0.0;
            self.logits.fill(0.0);
            return;
        }
        if let Some(c) = softcap {
            soft_cap(isa, self.logits, c);
        }
        let target = self.target as usize;
        let lse = log_sum_exp(isa, self.logits);
        *self.loss = f64::from(self.weight) * (lse - f64::from(self.logits[target]));
        if let Some(scale) = scale {
            let row = bytemuck::cast_slice_mut(self.logits);
            gradient_words(isa, words, row, lse as f32, scale * self.weight, target, softcap.unwrap_or(0.0));
        }
    }
}

/// Most logits that `Backend::cross_entropy` over at most `n` rows holds at the same time, f32 each.
pub fn most_logits(n: usize, vocab: usize) -> usize {
    most_rows(vocab).min(n) * stride(vocab)
}

/// Logits from row to row: rows that lay a power of two apart would displace one another from caches.
fn stride(vocab: usize) -> usize {
    lhs_stride(Words::F32, &[vocab])
}

fn most_rows(vocab: usize) -> usize {
    (CHUNK_LOGITS / vocab.max(1)).clamp(MIN_CHUNK_ROWS, CHUNK_ROWS)
}

/// Chunks of about equal size: each costs one more expansion of the head.
fn chunk_rows(n: usize, vocab: usize) -> usize {
    n.div_ceil(n.div_ceil(most_rows(vocab)).max(1))
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
    let matrix = Matrix::Stored(head);
    let words = ctx.mode.words();
    let mut sums = LossSums::default();
    let chunk_rows = chunk_rows(n, vocab);
    let stride = stride(vocab);
    let mut logits = ctx.floats(chunk_rows * stride);
    let mut losses = vec![0.0f64; chunk_rows];
    for start in (0..n).step_by(chunk_rows.max(1)) {
        let rows = chunk_rows.min(n - start);
        let left = ctx.left(hidden.part(start * c, rows * c), rows, c);
        let terms = [Term { left: left.all(), right: matrix }];
        let out = NumbersMut::F32(&mut logits);
        let product = Product { side: Side::Rows, terms: &terms, start: Start::Zero, out, stride };
        gemm::products(&ctx.pool, ctx.mode, &mut [product]);
        drop(left);
        let items =
            logits.chunks_mut(stride).map(|row| &mut row[..vocab]).zip(&mut losses).take(rows).enumerate();
        let items: Vec<Row<'_>> = items
            .map(|(i, (logits, loss))| Row {
                logits,
                loss,
                target: targets[start + i],
                weight: weights[start + i],
            })
            .collect();
        let gradient_scale = dhidden.is_some().then_some(scale);
        ctx.pool.for_each(items, |row| row.run(ctx, words, gradient_scale, softcap));
        for (loss, &weight) in losses[..rows].iter().zip(&weights[start..]) {
            sums.loss += loss;
            sums.weight += f64::from(weight);
        }
        if let Some(dhidden) = dhidden.as_deref_mut() {
            let gradient = Lhs { words: bytemuck::cast_slice(&logits), stride, m: rows };
            let out = NumbersMut::F32(&mut dhidden[start * c..(start + rows) * c]);
            gemm::product(&ctx.pool, ctx.mode, gradient, Side::Cols, matrix, Start::Zero, out);
        }
    }
    sums
}
