//! A backend that runs another one and counts: the time of each group of ops, and the arithmetic that they stand for.
//!
//! What is counted is what the result needs, whatever a kernel does for it: products of frozen weights with the
//! activations and, in the backward, with their gradients; LoRA's products; attention over the pairs of rows that
//! see each other, twice as much in the backward as in the forward; the output head at rows that have loss weight.
//! Elementwise ops, the optimiser, and scores that a backward computes again count as no arithmetic, only as time.
//! A multiplication and an addition are two operations.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::backend::{
    Activation, AdamW, AttentionShape, Backend, CachedSpan, Columns, Linear, LoraGrad, LossSums, Segment,
};
use crate::weight::WeightBytes;

/// Groups of ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Part {
    /// Linears with LoRA, forward and backward.
    Gemm,
    /// Attention, forward and backward.
    Attention,
    /// Cross-entropy with the products of the output head.
    Loss,
    /// Norms, rotation, gated activation, embedding, copies of rows.
    Elementwise,
    /// AdamW and the norm of the gradient.
    Optimiser,
}

impl Part {
    /// All, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Gemm, Self::Attention, Self::Loss, Self::Elementwise, Self::Optimiser];

    /// Name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gemm => "gemm",
            Self::Attention => "attention",
            Self::Loss => "loss",
            Self::Elementwise => "elementwise",
            Self::Optimiser => "optimiser",
        }
    }
}

/// What one part took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Time inside its ops.
    pub seconds: f64,
    /// Floating-point operations; see the module text for what counts.
    pub flop: u64,
}

/// Runs every op on another backend, with its results and its buffers, and adds up [`Tally`]s.
///
/// Ops of several threads at once each count their whole time.
#[derive(Debug, Default)]
pub struct Timed<B> {
    inner: B,
    tallies: Mutex<[Tally; Part::ALL.len()]>,
}

impl<B: Backend> Timed<B> {
    /// Nothing is counted yet.
    pub fn new(inner: B) -> Self {
        Self { inner, tallies: Mutex::default() }
    }

    /// The backend that does the work.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// The tallies of [`Part::ALL`] since the start or the last call; they begin again at zero.
    pub fn take(&self) -> [Tally; Part::ALL.len()] {
        std::mem::take(&mut *self.tallies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn timed<R>(&self, part: Part, flop: u64, op: impl FnOnce(&B) -> R) -> R {
        let started = Instant::now();
        let result = op(&self.inner);
        let seconds = started.elapsed().as_secs_f64();
        let tally = &mut self.tallies.lock().unwrap_or_else(PoisonError::into_inner)[part as usize];
        tally.seconds += seconds;
        tally.flop += flop;
        result
    }

    fn elementwise<R>(&self, op: impl FnOnce(&B) -> R) -> R {
        self.timed(Part::Elementwise, 0, op)
    }

    /// Operations of `x Wᵀ` and of the adapters' `(x Aᵀ) Bᵀ`.
    fn linear_flop(&self, t: usize, linears: &[Linear<'_, B::Buf, B::Weight>]) -> u64 {
        let flop = |linear: &Linear<'_, B::Buf, B::Weight>| {
            let (n, k) = self.inner.weight_shape(linear.weight);
            let spans = linear.spans.iter().map(|span| product(span.rows.len(), span.r, n + k));
            product(t, n, k) + spans.sum::<u64>()
        };
        linears.iter().map(flop).sum()
    }

    /// Operations of the gradients of [`Self::linear_flop`]'s inputs, if wanted, and adapters.
    fn linear_backward_flop(
        &self,
        t: usize,
        linears: &[Linear<'_, B::Buf, B::Weight>],
        grads: &[Option<LoraGrad<'_, B::Buf>>],
        inputs: bool,
    ) -> u64 {
        let mut flop = 0;
        for (linear, grad) in linears.iter().zip(grads) {
            let (n, k) = self.inner.weight_shape(linear.weight);
            if inputs {
                flop += product(t, n, k);
            }
            for span in &linear.spans {
                // One product for the input. One for A, one for B, and g B, which serves the input too: a call for
                // the input alone goes with another one for the gradients.
                flop += if inputs { product(t, span.r, k) } else { 0 };
                flop += if grad.is_some() { product(t, span.r, n + k) + product(t, n, span.r) } else { 0 };
            }
        }
        flop
    }
}

/// Operations of a matrix product.
fn product(m: usize, n: usize, k: usize) -> u64 {
    2 * m as u64 * n as u64 * k as u64
}

/// Products with the output head, per row that has loss weight.
pub fn loss_products(gradient: bool) -> u64 {
    if gradient { 2 } else { 1 }
}

/// Operations of attention's two products, when `pairs` rows see each other.
fn attention_flop(pairs: u64, shape: AttentionShape) -> u64 {
    4 * pairs * (shape.n_heads * shape.head_dim) as u64
}

/// Pairs of a query row and a row that it sees, for `n_new` rows after `past` others.
fn visible_pairs(past: usize, n_new: usize, window: Option<usize>) -> u64 {
    // The first `n` rows of a sequence alone: 1 + 2 + .. up to the window, and the window for each further row.
    let first = |n: usize| {
        let window = window.unwrap_or(n);
        let growing = n.min(window) as u64;
        growing * (growing + 1) / 2 + (n as u64 - growing) * window as u64
    };
    first(past + n_new) - first(past)
}

/// Pairs of a query row and a row that it sees, in packed rows.
pub fn attention_pairs(segments: &[Segment], window: Option<usize>) -> u64 {
    segments.iter().map(|Segment { shared, own }| visible_pairs(shared.len(), own.len(), window)).sum()
}

impl<B: Backend> Backend for Timed<B> {
    type Buf = B::Buf;
    type Weight = B::Weight;

    fn name(&self) -> String {
        self.inner.name()
    }

    fn zeros(&self, len: usize) -> B::Buf {
        self.inner.zeros(len)
    }

    fn operands(&self, len: usize) -> B::Buf {
        self.inner.operands(len)
    }

    fn operand_bytes(&self) -> usize {
        self.inner.operand_bytes()
    }

    fn upload(&self, data: &[f32]) -> B::Buf {
        self.inner.upload(data)
    }

    fn write(&self, buf: &mut B::Buf, data: &[f32]) {
        self.inner.write(buf, data);
    }

    fn download(&self, buf: &B::Buf) -> Vec<f32> {
        self.inner.download(buf)
    }

    fn len(&self, buf: &B::Buf) -> usize {
        self.inner.len(buf)
    }

    fn clear(&self, buf: &mut B::Buf) {
        self.elementwise(|b| b.clear(buf));
    }

    fn weight(&self, bytes: WeightBytes) -> B::Weight {
        self.inner.weight(bytes)
    }

    fn weight_shape(&self, weight: &B::Weight) -> (usize, usize) {
        self.inner.weight_shape(weight)
    }

    fn embed(&self, table: &B::Weight, ids: &[u32], scale: f32, out: &mut B::Buf) {
        self.elementwise(|b| b.embed(table, ids, scale, out));
    }

    fn gather_rows(&self, x: &B::Buf, rows: &[u32], c: usize, out: &mut B::Buf) {
        self.elementwise(|b| b.gather_rows(x, rows, c, out));
    }

    fn scatter_rows(&self, x: &B::Buf, rows: &[u32], c: usize, out: &mut B::Buf) {
        self.elementwise(|b| b.scatter_rows(x, rows, c, out));
    }

    fn copy_columns(
        &self,
        src: &B::Buf,
        from: Columns,
        t: usize,
        width: usize,
        dst: &mut B::Buf,
        to: Columns,
    ) {
        self.elementwise(|b| b.copy_columns(src, from, t, width, dst, to));
    }

    fn add(&self, x: &B::Buf, y: &mut B::Buf, n: usize) {
        self.elementwise(|b| b.add(x, y, n));
    }

    fn rmsnorm(
        &self,
        x: &B::Buf,
        w: &B::Buf,
        eps: f32,
        t: usize,
        out: &mut B::Buf,
        rstd: &mut B::Buf,
        kept: Option<&mut B::Buf>,
    ) {
        self.elementwise(|b| b.rmsnorm(x, w, eps, t, out, rstd, kept));
    }

    fn rmsnorm_backward(
        &self,
        dout: &B::Buf,
        x: &B::Buf,
        w: &B::Buf,
        rstd: &B::Buf,
        t: usize,
        sum: Option<&mut B::Buf>,
        out: Option<&mut B::Buf>,
    ) {
        self.elementwise(|b| b.rmsnorm_backward(dout, x, w, rstd, t, sum, out));
    }

    fn linear(
        &self,
        x: &B::Buf,
        t: usize,
        linears: &[Linear<'_, B::Buf, B::Weight>],
        xa: Option<&mut B::Buf>,
        add: bool,
        outs: &mut [&mut B::Buf],
    ) {
        let flop = self.linear_flop(t, linears);
        self.timed(Part::Gemm, flop, |b| b.linear(x, t, linears, xa, add, outs));
    }

    fn linear_backward(
        &self,
        douts: &[&B::Buf],
        t: usize,
        linears: &[Linear<'_, B::Buf, B::Weight>],
        x: &B::Buf,
        xa: Option<&B::Buf>,
        grads: &mut [Option<LoraGrad<'_, B::Buf>>],
        dx: Option<&mut B::Buf>,
    ) {
        let flop = self.linear_backward_flop(t, linears, grads, dx.is_some());
        self.timed(Part::Gemm, flop, |b| b.linear_backward(douts, t, linears, x, xa, grads, dx));
    }

    fn rope(
        &self,
        x: &B::Buf,
        positions: &[u32],
        n_heads: usize,
        head_dim: usize,
        inv_freq: &[f32],
        inverse: bool,
        out: &mut B::Buf,
    ) {
        self.elementwise(|b| b.rope(x, positions, n_heads, head_dim, inv_freq, inverse, out));
    }

    fn attention(
        &self,
        q: &B::Buf,
        k: &B::Buf,
        v: &B::Buf,
        segments: &[Segment],
        shape: AttentionShape,
        out: &mut B::Buf,
        lse: &mut B::Buf,
    ) {
        let flop = attention_flop(attention_pairs(segments, shape.window), shape);
        self.timed(Part::Attention, flop, |b| b.attention(q, k, v, segments, shape, out, lse));
    }

    fn attention_backward(
        &self,
        dout: &B::Buf,
        q: &B::Buf,
        k: &B::Buf,
        v: &B::Buf,
        out: &B::Buf,
        lse: &B::Buf,
        segments: &[Segment],
        shape: AttentionShape,
        dq: &mut B::Buf,
        dk: &mut B::Buf,
        dv: &mut B::Buf,
    ) {
        let flop = 2 * attention_flop(attention_pairs(segments, shape.window), shape);
        self.timed(Part::Attention, flop, |b| {
            b.attention_backward(dout, q, k, v, out, lse, segments, shape, dq, dk, dv);
        });
    }

    fn copy_rows(
        &self,
        src: &B::Buf,
        src_start: usize,
        n: usize,
        c: usize,
        dst: &mut B::Buf,
        dst_start: usize,
    ) {
        self.elementwise(|b| b.copy_rows(src, src_start, n, c, dst, dst_start));
    }

    fn attention_cached(
        &self,
        q: &B::Buf,
        k_caches: &[&B::Buf],
        v_caches: &[&B::Buf],
        spans: &[CachedSpan],
        shape: AttentionShape,
        out: &mut B::Buf,
    ) {
        let pairs = spans.iter().map(|span| visible_pairs(span.past, span.n_new, shape.window)).sum();
        let flop = attention_flop(pairs, shape);
        self.timed(Part::Attention, flop, |b| b.attention_cached(q, k_caches, v_caches, spans, shape, out));
    }

    fn glu(&self, activation: Activation, gate: &B::Buf, up: &B::Buf, n: usize, out: &mut B::Buf) {
        self.elementwise(|b| b.glu(activation, gate, up, n, out));
    }

    fn glu_backward(
        &self,
        activation: Activation,
        dout: &mut B::Buf,
        gate: &mut B::Buf,
        up: &mut B::Buf,
        n: usize,
    ) {
        self.elementwise(|b| b.glu_backward(activation, dout, gate, up, n));
    }

    fn cross_entropy(
        &self,
        hidden: &B::Buf,
        head: &B::Weight,
        targets: &[u32],
        weights: &[f32],
        scale: f32,
        softcap: Option<f32>,
        dhidden: Option<&mut B::Buf>,
    ) -> LossSums {
        let (v, c) = self.inner.weight_shape(head);
        let rows = weights.iter().filter(|&&weight| weight != 0.0).count();
        let products = loss_products(dhidden.is_some());
        self.timed(Part::Loss, products * product(rows, v, c), |b| {
            b.cross_entropy(hidden, head, targets, weights, scale, softcap, dhidden)
        })
    }

    fn sum_squares(&self, x: &B::Buf) -> f64 {
        self.timed(Part::Optimiser, 0, |b| b.sum_squares(x))
    }

    fn adamw(&self, param: &mut B::Buf, grad: &B::Buf, m: &mut B::Buf, v: &mut B::Buf, adamw: &AdamW) {
        self.timed(Part::Optimiser, 0, |b| b.adamw(param, grad, m, v, adamw));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_those_that_causality_and_window_leave() {
        for window in [None, Some(1), Some(3), Some(8)] {
            for past in 0..6usize {
                for n_new in 0..6 {
                    let sees = |i: usize| (0..=i).filter(|j| window.is_none_or(|w| i - j < w)).count() as u64;
                    let expect = (past..past + n_new).map(sees).sum::<u64>();
                    assert_eq!(visible_pairs(past, n_new, window), expect, "{past} {n_new} {window:?}");
                }
            }
        }
    }
}
