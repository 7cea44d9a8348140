//! Attention of new rows over caches: row by row for decoding, tiled for prompts.

use crate::attention::cpu::{Queries, TILE, pieces, take_pieces};
use crate::backend::{AttentionShape, CachedSpan};
use crate::context::Context;
use crate::simd::{dot, exp, mul_add, per_isa};

/// Spans of at most this many new rows are computed row by row.
pub const FEW_ROWS: usize = 4;

per_isa! {
    /// One query `[d]` over `n` keys; rows of `k` and `v` are `stride` apart. Writes `out` `[d]`.
    fn one_query(q: &[f32], k: &[f32], v: &[f32], stride: usize, scale: f32, scores: &mut [f32], out: &mut [f32])
        = fma one_query_body;
}

#[inline(always)]
fn one_query_body<const FMA: bool>(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    stride: usize,
    scale: f32,
    scores: &mut [f32],
    out: &mut [f32],
) {
    let d = q.len();
    let mut max = f32::NEG_INFINITY;
    for (j, s) in scores.iter_mut().enumerate() {
        *s = scale * dot::<FMA>(q, &k[j * stride..][..d]);
        max = if *s > max { *s } else { max };
    }
    let mut sum = 0.0f32;
    for s in scores.iter_mut() {
        *s = exp::<FMA>(*s - max);
        sum += *s;
    }
    out.fill(0.0);
    for (j, &s) in scores.iter().enumerate() {
        for (o, &v) in out.iter_mut().zip(&v[j * stride..][..d]) {
            *o = mul_add::<FMA>(s, v, *o);
        }
    }
    for o in out {
        *o /= sum;
    }
}

/// Contract: `Backend::attention_cached`.
pub fn forward(
    ctx: &Context,
    q: &[f32],
    k_caches: &[&[f32]],
    v_caches: &[&[f32]],
    spans: &[CachedSpan],
    shape: AttentionShape,
    out: &mut [f32],
) {
    let AttentionShape { n_heads: h, n_kv_heads: hkv, head_dim: d, scale, .. } = shape;
    assert!(h.is_multiple_of(hkv), "query heads are a multiple of key heads");
    assert!(spans.len() == k_caches.len() && spans.len() == v_caches.len(), "one cache pair per span");
    let group = h / hkv;
    let mut out = pieces(out, group * d);
    let mut tasks = Vec::new();
    for (i, span) in spans.iter().enumerate() {
        for first in (0..span.n_new).step_by(TILE) {
            let rows = span.start + first..span.start + span.n_new.min(first + TILE);
            for kv_head in 0..hkv {
                let queries = Queries {
                    q,
                    rows: rows.clone(),
                    first_sees: span.past + first + 1,
                    kv_head,
                    out: take_pieces(&mut out, rows.clone(), kv_head, hkv),
                    lse: Vec::new(),
                };
                tasks.push((i, queries));
            }
        }
    }
    ctx.pool.for_each(tasks, |(i, queries)| {
        let (k, v) = (k_caches[i], v_caches[i]);
        if spans[i].n_new > FEW_ROWS {
            queries.attend(ctx.mode, k, v, shape);
            return;
        }
        let mut scores = vec![0.0; queries.first_sees + queries.rows.len()];
        for (row, out) in queries.rows.clone().zip(queries.out) {
            let sees = queries.first_sees + row - queries.rows.start;
            for (g, out) in out.chunks_exact_mut(d).enumerate() {
                let q = &q[(row * h + queries.kv_head * group + g) * d..][..d];
                let (k, v) = (&k[queries.kv_head * d..], &v[queries.kv_head * d..]);
                one_query(ctx.mode.isa, q, k, v, hkv * d, scale, &mut scores[..sees], out);
            }
        }
    });
}
