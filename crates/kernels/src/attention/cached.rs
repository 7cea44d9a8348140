//! Attention of new rows over caches: row by row for decoding, tiled for prompts.

use std::cell::RefCell;

use crate::attention::forward::{attend_all, check};
use crate::attention::keys::Source;
use crate::attention::layout::window;
use crate::attention::scratch::Shared;
use crate::attention::softmax::cap_scores;
use crate::attention::words::{Rows, store_row};
use crate::backend::{AttentionShape, CachedSpan};
use crate::context::Context;
use crate::numbers::{Number, Numbers, NumbersMut};
use crate::simd::{dot, exp, mul_add, per_isa};

/// Spans of at most this many new rows are computed row by row.
pub const FEW_ROWS: usize = 4;

per_isa! {
    /// `scores[j] = scale * (q . row j of k)`.
    fn all_scores(q: &[f32], k: Rows<'_>, scale: f32, scores: &mut [f32]) = fma all_scores_body;
}

#[inline(always)]
fn all_scores_body<const FMA: bool>(q: &[f32], k: Rows<'_>, scale: f32, scores: &mut [f32]) {
    match k.x {
        Numbers::F32(x) => {
            for (s, k) in scores.iter_mut().zip(x[k.at..].chunks(k.step)) {
                *s = scale * dot::<FMA>(q, &k[..k.len().min(q.len())]);
            }
        }
        Numbers::Bf16(x) => {
            for (s, k) in scores.iter_mut().zip(x[k.at..].chunks(k.step)) {
                *s = scale * wide_dot::<FMA>(q, k);
            }
        }
    }
}

/// Dot product with bf16, in 16 interleaved sums.
#[inline(always)]
fn wide_dot<const FMA: bool>(a: &[f32], b: &[u16]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let b = &b[..a.len()];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            sums[i] = mul_add::<FMA>(a[i], b[i].get(), sums[i]);
        }
    }
    for (i, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[i] = mul_add::<FMA>(a, b.get(), sums[i]);
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

per_isa! {
    /// Scores to `out` = their softmax times the rows of `v`.
    fn average(scores: &mut [f32], v: Rows<'_>, out: &mut [f32]) = fma average_body;
}

#[inline(always)]
fn average_body<const FMA: bool>(scores: &mut [f32], v: Rows<'_>, out: &mut [f32]) {
    let mut max = f32::NEG_INFINITY;
    for &s in &*scores {
        max = if s > max { s } else { max };
    }
    let mut sum = 0.0f32;
    for s in scores.iter_mut() {
        *s = exp::<FMA>(*s - max);
        sum += *s;
    }
    out.fill(0.0);
    match v.x {
        Numbers::F32(x) => add_rows::<FMA, f32>(scores, &x[v.at..], v.step, out),
        Numbers::Bf16(x) => add_rows::<FMA, u16>(scores, &x[v.at..], v.step, out),
    }
    for o in out {
        *o /= sum;
    }
}

#[inline(always)]
fn add_rows<const FMA: bool, N: Number>(factors: &[f32], rows: &[N], step: usize, out: &mut [f32]) {
    for (&s, row) in factors.iter().zip(rows.chunks(step)) {
        for (o, &v) in out.iter_mut().zip(row) {
            *o = mul_add::<FMA>(s, v.get(), *o);
        }
    }
}

/// Buffers of a row by row task.
#[derive(Default)]
struct Scratch {
    q: Vec<f32>,
    scores: Vec<f32>,
    out: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Contract: `Backend::attention_cached`.
pub fn forward(
    ctx: &Context,
    q: Numbers<'_>,
    k_caches: &[Numbers<'_>],
    v_caches: &[Numbers<'_>],
    spans: &[CachedSpan],
    shape: AttentionShape,
    out: NumbersMut<'_>,
) {
    check(shape);
    assert!(spans.len() == k_caches.len() && spans.len() == v_caches.len(), "one cache pair per span");
    let out = Shared::new(out);
    let (mut few, mut queries, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    for ((span, &k), &v) in spans.iter().zip(k_caches).zip(v_caches) {
        if span.n_new <= FEW_ROWS {
            let tasks = (0..shape.n_kv_heads).flat_map(|head| (0..span.n_new).map(move |i| (head, i)));
            few.extend(tasks.map(|(head, i)| (span, k, v, head, i)));
        } else {
            queries.push((span.start, span.n_new, span.past));
            sources.push(Source { k, v, row: 0, n: span.past + span.n_new });
        }
    }
    if !queries.is_empty() {
        attend_all(ctx, q, &queries, &sources, shape, &out, None);
    }
    ctx.pool.for_each(few, |(span, k, v, kv_head, i)| {
        // SAFETY: each task has another row or group of heads, and the tiled ones are of other spans.
        unsafe { one_row(ctx, q, k, v, (span.start + i, span.past + i), kv_head, shape, &out) };
    });
}

/// One row and the heads that share `kv_head`; sees keys up to `place`.
///
/// # Safety
/// No other task writes this row and these heads.
#[allow(clippy::too_many_arguments, reason = "the operands of one op")]
unsafe fn one_row(
    ctx: &Context,
    q: Numbers<'_>,
    k: Numbers<'_>,
    v: Numbers<'_>,
    (row, place): (usize, usize),
    kv_head: usize,
    shape: AttentionShape,
    out: &Shared<'_>,
) {
    let AttentionShape { n_heads, n_kv_heads, head_dim: d, .. } = shape;
    let (isa, group) = (ctx.mode.isa, n_heads / n_kv_heads);
    let first = (place + 1).saturating_sub(window(shape.window));
    let rows = |x| Rows::of(x, first, place + 1 - first, kv_head, n_kv_heads, d);
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.q.resize(d, 0.0);
        scratch.out.resize(d, 0.0);
        scratch.scores.resize(place + 1 - first, 0.0);
        for head in kv_head * group..(kv_head + 1) * group {
            let at = (row * n_heads + head) * d;
            match q {
                Numbers::F32(x) => scratch.q.copy_from_slice(&x[at..at + d]),
                Numbers::Bf16(x) => {
                    scratch.q.iter_mut().zip(&x[at..at + d]).for_each(|(o, x)| *o = x.get());
                }
            }
            all_scores(isa, &scratch.q, rows(k), shape.scale, &mut scratch.scores);
            if let Some(cap) = shape.softcap {
                cap_scores(isa, &mut scratch.scores, 1.0, cap);
            }
            average(isa, &mut scratch.scores, rows(v), &mut scratch.out);
            // SAFETY: same contract.
            store_row(isa, &scratch.out, 1.0, unsafe { out.piece(at, d) });
        }
    });
}
