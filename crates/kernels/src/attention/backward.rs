//! Tiled backward. One task per segment and query head; scores are computed again from `lse`.

use std::ops::Range;

use crate::attention::cpu::{TILE, head_rows, pieces, take_pieces};
use crate::attention::reference::Grads;
use crate::backend::AttentionShape;
use crate::context::Context;
use crate::gemm::{self, Lhs, Mode, Packed, Side, Words, lhs_row, lhs_stride};
use crate::simd::{dot, exp, per_isa};

/// Elements per task of the sum over a group of heads.
const REDUCE_ELEMENTS: usize = 32 * 1024;

per_isa! {
    fn dot_rows(a: &[f32], b: &[f32]) -> f32 = fma dot;
}

per_isa! {
    /// Scores to probabilities `p`, and their gradient `dp` to that of the scores, in place;
    /// both 0 from `visible` on.
    fn score_row(p: &mut [f32], dp: &mut [f32], visible: usize, scale: f32, lse: f32, delta: f32) = fma score_row_body;
}

#[inline(always)]
fn score_row_body<const FMA: bool>(
    p: &mut [f32],
    dp: &mut [f32],
    visible: usize,
    scale: f32,
    lse: f32,
    delta: f32,
) {
    p[visible..].fill(0.0);
    dp[visible..].fill(0.0);
    for (p, dp) in p[..visible].iter_mut().zip(&mut dp[..visible]) {
        *p = exp::<FMA>(scale * *p - lse);
        *dp = *p * (*dp - delta) * scale;
    }
}

/// Rows converted to words.
struct RowWords {
    words: Vec<u32>,
    stride: usize,
}

impl RowWords {
    fn new(words: Words, rows: usize, width: usize) -> Self {
        let stride = lhs_stride(words, &[width]);
        Self { words: vec![0; rows * stride], stride }
    }

    fn set(&mut self, mode: Mode, row: usize, x: &[f32]) {
        lhs_row(mode.isa, mode.words(), 1.0, x, &mut self.words[row * self.stride..]);
    }

    fn lhs(&self, rows: Range<usize>) -> Lhs<'_> {
        let words = &self.words[rows.start * self.stride..rows.end * self.stride];
        Lhs { words, stride: self.stride, m: rows.len() }
    }
}

/// Inputs that all tasks share.
struct Inputs<'a> {
    mode: Mode,
    dout: &'a [f32],
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    out: &'a [f32],
    lse: &'a [f32],
    shape: AttentionShape,
}

/// One segment of one query head; one slice `[head_dim]` per row in each gradient.
struct Task<'a> {
    segment: Range<usize>,
    head: usize,
    dq: Vec<&'a mut [f32]>,
    dk: Vec<&'a mut [f32]>,
    dv: Vec<&'a mut [f32]>,
}

/// What is made from the queries of a task once and used for every tile of keys.
struct QuerySide {
    q_rows: RowWords,
    dout_rows: RowWords,
    q_tiles: Vec<Packed>,
    dout_tiles: Vec<Packed>,
    delta: Vec<f32>,
}

impl QuerySide {
    fn new(input: &Inputs<'_>, segment: &Range<usize>, head: usize) -> Self {
        let (mode, words) = (input.mode, input.mode.words());
        let (h, d) = (input.shape.n_heads, input.shape.head_dim);
        let n = segment.len();
        let mut q_rows = RowWords::new(words, n, d);
        let mut dout_rows = RowWords::new(words, n, d);
        let mut delta = vec![0.0; n];
        for (i, delta) in delta.iter_mut().enumerate() {
            let own = ((segment.start + i) * h + head) * d;
            let own = own..own + d;
            q_rows.set(mode, i, &input.q[own.clone()]);
            dout_rows.set(mode, i, &input.dout[own.clone()]);
            *delta = dot_rows(mode.isa, &input.dout[own.clone()], &input.out[own]);
        }
        let tiles = |x: &[f32]| -> Vec<Packed> {
            let tile = |start: usize| {
                let mut packed = Packed::default();
                let rows = start..segment.end.min(start + TILE);
                packed.pack(mode, Side::Cols, head_rows(x, rows, head, h, d));
                packed
            };
            segment.clone().step_by(TILE).map(tile).collect()
        };
        Self { q_rows, dout_rows, q_tiles: tiles(input.q), dout_tiles: tiles(input.dout), delta }
    }
}

/// Scratch for one tile of scores.
struct Scores {
    p: Vec<f32>,
    ds: Vec<f32>,
    turned: Vec<f32>,
    ds_rows: RowWords,
    p_turned: RowWords,
    ds_turned: RowWords,
}

impl Scores {
    fn new(words: Words) -> Self {
        let (tile, rows) = (|| vec![0.0; TILE * TILE], || RowWords::new(words, TILE, TILE));
        Self { p: tile(), ds: tile(), turned: tile(), ds_rows: rows(), p_turned: rows(), ds_turned: rows() }
    }

    /// Converts the tile `[queries, keys]`: `ds` as it is, `p` and `ds` turned.
    fn convert(&mut self, mode: Mode, queries: usize, keys: usize) {
        for i in 0..queries {
            self.ds_rows.set(mode, i, &self.ds[i * TILE..][..keys]);
        }
        for (x, out) in [(&self.p, &mut self.p_turned), (&self.ds, &mut self.ds_turned)] {
            for i in 0..queries {
                for j in 0..keys {
                    self.turned[j * TILE + i] = x[i * TILE + j];
                }
            }
            for j in 0..keys {
                out.set(mode, j, &self.turned[j * TILE..][..queries]);
            }
        }
    }
}

impl Task<'_> {
    fn run(mut self, input: &Inputs<'_>) {
        let AttentionShape { n_heads: h, n_kv_heads: hkv, head_dim: d, scale, .. } = input.shape;
        let (mode, segment) = (input.mode, self.segment.clone());
        let (n, kv_head) = (segment.len(), self.head / (h / hkv));
        let side = QuerySide::new(input, &segment, self.head);
        let mut scores = Scores::new(mode.words());
        let (mut k_rows, mut k_cols, mut v_rows) = (Packed::default(), Packed::default(), Packed::default());
        let mut dq = vec![0.0f32; n * d];
        let (mut dk, mut dv) = (vec![0.0f32; TILE * d], vec![0.0f32; TILE * d]);
        for j0 in (0..n).step_by(TILE) {
            let keys = j0..n.min(j0 + TILE);
            let rows = segment.start + keys.start..segment.start + keys.end;
            k_rows.pack(mode, Side::Rows, head_rows(input.k, rows.clone(), kv_head, hkv, d));
            k_cols.pack(mode, Side::Cols, head_rows(input.k, rows.clone(), kv_head, hkv, d));
            v_rows.pack(mode, Side::Rows, head_rows(input.v, rows, kv_head, hkv, d));
            dk.fill(0.0);
            dv.fill(0.0);
            for i0 in (j0..n).step_by(TILE) {
                let queries = i0..n.min(i0 + TILE);
                let (nq, nk, tile) = (queries.len(), keys.len(), i0 / TILE);
                gemm::local_product(
                    mode,
                    side.q_rows.lhs(queries.clone()),
                    &k_rows,
                    false,
                    &mut scores.p,
                    TILE,
                );
                let dout = side.dout_rows.lhs(queries.clone());
                gemm::local_product(mode, dout, &v_rows, false, &mut scores.ds, TILE);
                for i in 0..nq {
                    let visible = (i0 + i + 1 - j0).min(nk);
                    let lse = input.lse[(segment.start + i0 + i) * h + self.head];
                    let (p, ds) = (&mut scores.p[i * TILE..][..nk], &mut scores.ds[i * TILE..][..nk]);
                    score_row(mode.isa, p, ds, visible, scale, lse, side.delta[i0 + i]);
                }
                scores.convert(mode, nq, nk);
                gemm::local_product(
                    mode,
                    scores.p_turned.lhs(0..nk),
                    &side.dout_tiles[tile],
                    true,
                    &mut dv,
                    d,
                );
                gemm::local_product(mode, scores.ds_turned.lhs(0..nk), &side.q_tiles[tile], true, &mut dk, d);
                gemm::local_product(mode, scores.ds_rows.lhs(0..nq), &k_cols, true, &mut dq[i0 * d..], d);
            }
            for (i, j) in keys.enumerate() {
                self.dk[j].copy_from_slice(&dk[i * d..][..d]);
                self.dv[j].copy_from_slice(&dv[i * d..][..d]);
            }
        }
        for (out, dq) in self.dq.iter_mut().zip(dq.chunks_exact(d)) {
            out.copy_from_slice(dq);
        }
    }
}

/// Contract: `Backend::attention_backward`.
#[allow(clippy::too_many_arguments, reason = "the operands of one op")]
pub fn backward(
    ctx: &Context,
    dout: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    lse: &[f32],
    segments: &[Range<usize>],
    shape: AttentionShape,
    grads: Grads<'_, f32>,
) {
    let AttentionShape { n_heads: h, n_kv_heads: hkv, head_dim: d, .. } = shape;
    assert!(h.is_multiple_of(hkv), "query heads are a multiple of key heads");
    let t = segments.iter().map(|s| s.end).max().unwrap_or(0);
    // Gradients of keys and values for each query head; added up below.
    let (mut dk_heads, mut dv_heads) = (ctx.floats(t * h * d), ctx.floats(t * h * d));
    {
        let (mut dq, mut dk, mut dv) =
            (pieces(grads.dq, d), pieces(&mut dk_heads, d), pieces(&mut dv_heads, d));
        let mut tasks = Vec::new();
        for segment in segments {
            for head in 0..h {
                tasks.push(Task {
                    segment: segment.clone(),
                    head,
                    dq: take_pieces(&mut dq, segment.clone(), head, h),
                    dk: take_pieces(&mut dk, segment.clone(), head, h),
                    dv: take_pieces(&mut dv, segment.clone(), head, h),
                });
            }
        }
        // Long segments first, so that the threads end together. The order changes no result.
        tasks.sort_by_key(|task| std::cmp::Reverse(task.segment.len()));
        let input = Inputs { mode: ctx.mode, dout, q, k, v, out, lse, shape };
        ctx.pool.for_each(tasks, |task| task.run(&input));
    }
    for segment in segments {
        let own = segment.start * hkv * d..segment.end * hkv * d;
        let heads = segment.start * h * d..segment.end * h * d;
        add_groups(ctx, &dk_heads[heads.clone()], h / hkv, d, &mut grads.dk[own.clone()]);
        add_groups(ctx, &dv_heads[heads], h / hkv, d, &mut grads.dv[own]);
    }
}

/// `out[.., d]` = sum of `group` neighbours of `x[.., group, d]`, in order.
fn add_groups(ctx: &Context, x: &[f32], group: usize, d: usize, out: &mut [f32]) {
    let step = (REDUCE_ELEMENTS / d.max(1)).max(1) * d;
    ctx.pool.for_each(out.chunks_mut(step).zip(x.chunks(step * group)), |(out, x)| {
        for (out, x) in out.chunks_exact_mut(d).zip(x.chunks_exact(group * d)) {
            out.copy_from_slice(&x[..d]);
            for x in x[d..].chunks_exact(d) {
                for (o, &x) in out.iter_mut().zip(x) {
                    *o += x;
                }
            }
        }
    });
}
