//! Scalar attention, one query row at a time.

use std::ops::Range;

use crate::backend::{AttentionShape, CachedSpan, Segment};
use crate::linear::reference::{axpy, dot};
use crate::real::Real;

/// Log-sum-exp, with the largest term taken out first.
pub fn log_sum_exp<F: Real>(x: &[F]) -> F {
    let mut max = x[0];
    for &x in x {
        if x > max {
            max = x;
        }
    }
    let mut sum = F::ZERO;
    for &x in x {
        sum += (x - max).exp();
    }
    max + sum.ln()
}

/// Where one head of one row lies in `[.., heads * head_dim]`.
fn at(row: usize, head: usize, heads: usize, head_dim: usize) -> Range<usize> {
    let start = (row * heads + head) * head_dim;
    start..start + head_dim
}

/// The soft-capped form of a scaled score, and its derivative.
fn cap<F: Real>(score: F, shape: AttentionShape) -> (F, F) {
    match shape.softcap {
        None => (score, F::ONE),
        Some(cap) => {
            let tanh = (score / F::of(cap)).tanh();
            (F::of(cap) * tanh, F::ONE - tanh * tanh)
        }
    }
}

/// The first key that a query sees; keys from `start`, its own is `own`.
fn first_key(start: usize, own: usize, shape: AttentionShape) -> usize {
    shape.window.map_or(start, |window| start.max((own + 1).saturating_sub(window)))
}

/// One query over key rows `rows` of `k` and `v`: writes `out` `[head_dim]` and returns the log-sum-exp.
fn one_query<F: Real>(
    q: &[F],
    k: &[F],
    v: &[F],
    rows: impl Iterator<Item = usize> + Clone,
    kv_head: usize,
    shape: AttentionShape,
    out: &mut [F],
) -> F {
    let AttentionShape { n_kv_heads, head_dim, scale, .. } = shape;
    let score = |q: &[F], k: &[F]| cap(F::of(scale) * dot(q, k), shape).0;
    let scores: Vec<F> = rows.clone().map(|j| score(q, &k[at(j, kv_head, n_kv_heads, head_dim)])).collect();
    let lse = log_sum_exp(&scores);
    out.fill(F::ZERO);
    for (&s, j) in scores.iter().zip(rows) {
        axpy((s - lse).exp(), &v[at(j, kv_head, n_kv_heads, head_dim)], out);
    }
    lse
}

/// Forward over packed segments.
pub fn forward<F: Real>(
    q: &[F],
    k: &[F],
    v: &[F],
    segments: &[Segment],
    shape: AttentionShape,
    out: &mut [F],
    lse: &mut [F],
) {
    let (h, d) = (shape.n_heads, shape.head_dim);
    let group = h / shape.n_kv_heads;
    for segment in segments {
        for (i, t) in segment.own.clone().enumerate() {
            for head in 0..h {
                let own = at(t, head, h, d);
                let out = &mut out[own.clone()];
                let keys = keys(segment, i, shape);
                lse[t * h + head] = one_query(&q[own], k, v, keys, head / group, shape, out);
            }
        }
    }
}

/// The rows that own row `i` of a segment sees.
fn keys(segment: &Segment, i: usize, shape: AttentionShape) -> impl Iterator<Item = usize> + Clone {
    let own = segment.shared.len() + i;
    let hidden = first_key(0, own, shape);
    segment.shared.clone().chain(segment.own.start..segment.own.start + i + 1).skip(hidden)
}

/// Forward of new rows over caches.
pub fn cached<F: Real>(
    q: &[F],
    k_caches: &[&[F]],
    v_caches: &[&[F]],
    spans: &[CachedSpan],
    shape: AttentionShape,
    out: &mut [F],
) {
    let (h, d) = (shape.n_heads, shape.head_dim);
    let group = h / shape.n_kv_heads;
    for ((span, k), v) in spans.iter().zip(k_caches).zip(v_caches) {
        for i in 0..span.n_new {
            for head in 0..h {
                let own = at(span.start + i, head, h, d);
                let out = &mut out[own.clone()];
                let keys = first_key(0, span.past + i, shape)..span.past + i + 1;
                one_query(&q[own], k, v, keys, head / group, shape, out);
            }
        }
    }
}

/// The gradients of attention that [`backward`] writes.
pub struct Grads<'a, F> {
    /// `[T, n_heads * head_dim]`.
    pub dq: &'a mut [F],
    /// `[T, n_kv_heads * head_dim]`.
    pub dk: &'a mut [F],
    /// `[T, n_kv_heads * head_dim]`.
    pub dv: &'a mut [F],
}

/// Backward over packed segments; overwrites the rows of the segments in all three gradients.
#[allow(clippy::too_many_arguments, reason = "the inputs of one op")]
pub fn backward<F: Real>(
    dout: &[F],
    q: &[F],
    k: &[F],
    v: &[F],
    out: &[F],
    lse: &[F],
    segments: &[Segment],
    shape: AttentionShape,
    grads: Grads<'_, F>,
) {
    let AttentionShape { n_heads: h, n_kv_heads: hkv, head_dim: d, scale, .. } = shape;
    let Grads { dq, dk, dv } = grads;
    let scale = F::of(scale);
    for Segment { own, .. } in segments {
        dq[own.start * h * d..own.end * h * d].fill(F::ZERO);
        dk[own.start * hkv * d..own.end * hkv * d].fill(F::ZERO);
        dv[own.start * hkv * d..own.end * hkv * d].fill(F::ZERO);
    }
    for segment in segments {
        for (i, t) in segment.own.clone().enumerate() {
            for head in 0..h {
                let own = at(t, head, h, d);
                let (q, dout) = (&q[own.clone()], &dout[own.clone()]);
                let delta = dot(dout, &out[own.clone()]);
                for j in keys(segment, i, shape) {
                    let kv = at(j, head / (h / hkv), hkv, d);
                    let (score, slope) = cap(scale * dot(q, &k[kv.clone()]), shape);
                    let p = (score - lse[t * h + head]).exp();
                    let ds = p * (dot(dout, &v[kv.clone()]) - delta) * slope * scale;
                    axpy(p, dout, &mut dv[kv.clone()]);
                    axpy(ds, q, &mut dk[kv.clone()]);
                    axpy(ds, &k[kv], &mut dq[own.clone()]);
                }
            }
        }
    }
}
