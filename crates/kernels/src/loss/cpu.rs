//! Cross-entropy in chunks of rows: one product for the logits, one for the gradient.

use crate::backend::LossSums;
use crate::context::Context;
use crate::gemm::{self, Matrix, Side, Start, Words, lhs_row};
use crate::simd::{exp, per_isa};
use crate::weight::WeightBytes;

/// Most logits that exist at the same time (64 MiB).
const CHUNK_LOGITS: usize = 16 * 1024 * 1024;
/// Most rows of a chunk.
const CHUNK_ROWS: usize = 480;
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
    /// `x = factor * exp(x - lse)`.
    fn probabilities(x: &mut [f32], lse: f32, factor: f32) = fma probabilities_body;
}

#[inline(always)]
fn probabilities_body<const FMA: bool>(x: &mut [f32], lse: f32, factor: f32) {
    for x in x {
        *x = factor * exp::<FMA>(*x - lse);
    }
}

/// One row of a chunk.
struct Row<'a> {
    logits: &'a mut [f32],
    loss: &'a mut f64,
    target: u32,
    weight: f32,
    /// Where the gradient of the logits goes, as words.
    gradient: Option<&'a mut [u32]>,
}

impl Row<'_> {
    fn run(self, ctx: &Context, words: Words, scale: f32) {
        let isa = ctx.mode.isa;
        if self.weight == 0.0 {
            *self.loss = 0.0;
            if let Some(gradient) = self.gradient {
                gradient.fill(0);
            }
            return;
        }
        let target = self.target as usize;
        let lse = log_sum_exp(isa, self.logits);
        *self.loss = f64::from(self.weight) * (lse - f64::from(self.logits[target]));
        if let Some(gradient) = self.gradient {
            let factor = scale * self.weight;
            probabilities(isa, self.logits, lse as f32, factor);
            self.logits[target] -= factor;
            lhs_row(isa, words, 1.0, self.logits, gradient);
        }
    }
}

/// Contract: `Backend::cross_entropy`.
pub fn cross_entropy(
    ctx: &Context,
    hidden: &[f32],
    head: &WeightBytes,
    targets: &[u32],
    weights: &[f32],
    scale: f32,
    mut dhidden: Option<&mut [f32]>,
) -> LossSums {
    let (vocab, c, n) = (head.rows, head.cols, targets.len());
    let matrix = Matrix::Stored(head);
    let words = ctx.mode.words();
    let mut sums = LossSums::default();
    // Chunks of about equal size: each costs one more expansion of the head.
    let most_rows = (CHUNK_LOGITS / vocab.max(1)).clamp(1, CHUNK_ROWS);
    let chunk_rows = n.div_ceil(n.div_ceil(most_rows).max(1));
    let mut logits = ctx.floats(chunk_rows * vocab);
    let mut losses = vec![0.0f64; chunk_rows];
    for start in (0..n).step_by(chunk_rows.max(1)) {
        let rows = chunk_rows.min(n - start);
        let mut lhs = ctx.lhs(rows, &[c]);
        ctx.fill_lhs(&mut lhs, 0, &hidden[start * c..], c, 1.0);
        gemm::product(&ctx.pool, ctx.mode, lhs.all(), Side::Rows, &[matrix], Start::Zero, &mut logits);
        drop(lhs);
        let mut gradient = ctx.lhs(if dhidden.is_some() { rows } else { 0 }, &[vocab]);
        let stride = gradient.stride;
        let mut gradient_rows = gradient.words.chunks_mut(stride);
        let items = logits.chunks_mut(vocab).zip(&mut losses).take(rows).enumerate();
        let items: Vec<Row<'_>> = items
            .map(|(i, (logits, loss))| Row {
                logits,
                loss,
                target: targets[start + i],
                weight: weights[start + i],
                gradient: gradient_rows.next(),
            })
            .collect();
        ctx.pool.for_each(items, |row| row.run(ctx, words, scale));
        for (loss, &weight) in losses[..rows].iter().zip(&weights[start..]) {
            sums.loss += loss;
            sums.weight += f64::from(weight);
        }
        if let Some(dhidden) = dhidden.as_deref_mut() {
            let out = &mut dhidden[start * c..(start + rows) * c];
            gemm::product(&ctx.pool, ctx.mode, gradient.all(), Side::Cols, &[matrix], Start::Zero, out);
        }
    }
    sums
}
