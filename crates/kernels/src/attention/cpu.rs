//! Tiled forward.

use std::ops::Range;

use crate::backend::AttentionShape;
use crate::context::Context;
use crate::gemm::{self, Lhs, Matrix, Mode, Packed, Side, lhs_row, lhs_stride};
use crate::simd::{exp, per_isa};

/// Queries and keys of a tile.
pub const TILE: usize = 64;

per_isa! {
    /// One row of scores to unnormalised probabilities, in place; updates the row's running maximum and sum
    /// and returns the factor for what was summed so far. Scores from `visible` on become 0.
    fn softmax_row(scores: &mut [f32], visible: usize, scale: f32, max: &mut f32, sum: &mut f32) -> f32
        = fma softmax_row_body;
}

#[inline(always)]
fn softmax_row_body<const FMA: bool>(
    scores: &mut [f32],
    visible: usize,
    scale: f32,
    max: &mut f32,
    sum: &mut f32,
) -> f32 {
    let (seen, hidden) = scores.split_at_mut(visible);
    hidden.fill(0.0);
    let mut new_max = *max;
    for s in seen.iter_mut() {
        *s *= scale;
        new_max = if *s > new_max { *s } else { new_max };
    }
    if visible == 0 {
        return 1.0;
    }
    for s in seen.iter_mut() {
        *s = exp::<FMA>(*s - new_max);
    }
    let factor = exp::<FMA>(*max - new_max);
    *sum = *sum * factor + crate::simd::reduce(seen, seen, |a, s, _| a + s);
    *max = new_max;
    factor
}

per_isa! {
    /// `y *= s`.
    fn scale_row(s: f32, y: &mut [f32]) = scale_row_body;
}

#[inline(always)]
fn scale_row_body(s: f32, y: &mut [f32]) {
    for y in y {
        *y *= s;
    }
}

/// Rows of one head in `[.., heads * head_dim]` as a matrix.
pub fn head_rows(x: &[f32], rows: Range<usize>, head: usize, heads: usize, d: usize) -> Matrix<'_> {
    Matrix::Plain {
        data: &x[(rows.start * heads + head) * d..],
        rows: rows.len(),
        cols: d,
        stride: heads * d,
    }
}

/// Queries of one tile: rows of `q`, all heads that share `kv_head`.
pub struct Queries<'a> {
    /// The whole query buffer.
    pub q: &'a [f32],
    /// Rows of it.
    pub rows: Range<usize>,
    /// Keys that the first row sees; each further row sees one more.
    pub first_sees: usize,
    /// Key and value head.
    pub kv_head: usize,
    /// One slice `[group * head_dim]` per row.
    pub out: Vec<&'a mut [f32]>,
    /// One slice `[group]` per row, or none.
    pub lse: Vec<&'a mut [f32]>,
}

impl Queries<'_> {
    /// Attends to `k` and `v`, whose row 0 is the first key that these queries may see.
    pub fn attend(mut self, mode: Mode, k: &[f32], v: &[f32], shape: AttentionShape) {
        let AttentionShape { n_heads: h, n_kv_heads: hkv, head_dim: d, scale, .. } = shape;
        let (isa, words, group) = (mode.isa, mode.words(), h / hkv);
        let rows = self.rows.len() * group;
        let q_stride = lhs_stride(words, &[d]);
        let mut q_words = vec![0u32; rows * q_stride];
        for (i, out) in q_words.chunks_exact_mut(q_stride).enumerate() {
            let head = self.kv_head * group + i % group;
            let at = ((self.rows.start + i / group) * h + head) * d;
            lhs_row(isa, words, 1.0, &self.q[at..at + d], out);
        }
        let q_lhs = Lhs { words: &q_words, stride: q_stride, m: rows };

        let p_stride = lhs_stride(words, &[TILE]);
        let mut p_words = vec![0u32; rows * p_stride];
        let mut scores = vec![0.0f32; rows * TILE];
        let mut sums = vec![0.0f32; rows * d];
        let mut states = vec![(f32::NEG_INFINITY, 0.0f32); rows];
        let (mut keys, mut values) = (Packed::default(), Packed::default());
        let last_sees = self.first_sees + self.rows.len() - 1;
        for k0 in (0..last_sees).step_by(TILE) {
            let tile = k0..last_sees.min(k0 + TILE);
            keys.pack(mode, Side::Rows, head_rows(k, tile.clone(), self.kv_head, hkv, d));
            gemm::local_product(mode, q_lhs, &keys, false, &mut scores, TILE);
            for (i, (max, sum)) in states.iter_mut().enumerate() {
                let visible = (self.first_sees + i / group).saturating_sub(k0).min(tile.len());
                let scores = &mut scores[i * TILE..][..tile.len()];
                let factor = softmax_row(isa, scores, visible, scale, max, sum);
                if factor != 1.0 {
                    scale_row(isa, factor, &mut sums[i * d..][..d]);
                }
                lhs_row(isa, words, 1.0, scores, &mut p_words[i * p_stride..]);
            }
            values.pack(mode, Side::Cols, head_rows(v, tile, self.kv_head, hkv, d));
            let p_lhs = Lhs { words: &p_words, stride: p_stride, m: rows };
            gemm::local_product(mode, p_lhs, &values, true, &mut sums, d);
        }
        for (i, &(max, sum)) in states.iter().enumerate() {
            let out = &mut self.out[i / group][i % group * d..][..d];
            out.copy_from_slice(&sums[i * d..][..d]);
            scale_row(isa, 1.0 / sum, out);
            if let Some(lse) = self.lse.get_mut(i / group) {
                lse[i % group] = max + sum.ln();
            }
        }
    }
}

/// The pieces of `[T, pieces * width]`, to be handed out to tasks: `[t * pieces + p]`.
pub fn pieces(x: &mut [f32], width: usize) -> Vec<Option<&mut [f32]>> {
    x.chunks_exact_mut(width).map(Some).collect()
}

/// Takes the pieces `p` of `rows`.
pub fn take_pieces<'a>(
    all: &mut [Option<&'a mut [f32]>],
    rows: Range<usize>,
    p: usize,
    per_row: usize,
) -> Vec<&'a mut [f32]> {
    rows.map(|t| all[t * per_row + p].take().expect("segments do not overlap")).collect()
}

/// Contract: `Backend::attention`.
#[allow(clippy::too_many_arguments, reason = "the operands of one op")]
pub fn forward(
    ctx: &Context,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    segments: &[Range<usize>],
    shape: AttentionShape,
    out: &mut [f32],
    lse: &mut [f32],
) {
    let AttentionShape { n_heads: h, n_kv_heads: hkv, head_dim: d, .. } = shape;
    assert!(h.is_multiple_of(hkv), "query heads are a multiple of key heads");
    let (mut out, mut lse) = (pieces(out, h / hkv * d), pieces(lse, h / hkv));
    let mut tasks = Vec::new();
    for segment in segments {
        for start in segment.clone().step_by(TILE) {
            let rows = start..segment.end.min(start + TILE);
            for kv_head in 0..hkv {
                let queries = Queries {
                    q,
                    rows: rows.clone(),
                    first_sees: start - segment.start + 1,
                    kv_head,
                    out: take_pieces(&mut out, rows.clone(), kv_head, hkv),
                    lse: take_pieces(&mut lse, rows.clone(), kv_head, hkv),
                };
                tasks.push((segment.start, queries));
            }
        }
    }
    ctx.pool.for_each(tasks, |(first, queries)| {
        let first = first * hkv * d;
        queries.attend(ctx.mode, &k[first..], &v[first..], shape);
    });
}
