//! Scores to probabilities and gradients, one panel of lanes at a time.
//!
//! Scores lie as `[keys][PANEL]`: a lane is a query, so maxima and sums run down the rows without crossing
//! lanes, and what comes out is in the layout that the next product reads.

use crate::attention::layout::Mask;
use crate::gemm::{Mode, PANEL, Words};
use crate::simd::{exp, per_isa, round_bf16};

/// One number per lane, on a cache line border.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Lanes(pub [f32; PANEL]);

/// Factor on the scores, and what is taken from them before the exponential.
#[derive(Clone, Copy)]
pub struct Scaled<'a> {
    /// Factor.
    pub scale: f32,
    /// Running maxima (forward) or log-sum-exps (backward), in scaled units.
    pub shift: &'a Lanes,
}

/// Whether the AVX-512 form for pairs of bf16 applies.
fn pairs(mode: Mode) -> bool {
    mode.words() == Words::Bf16Pairs
}

/// `max = max(max, scores that the mask lets through)`.
pub fn maxima(mode: Mode, scores: &[f32], mask: Mask, max: &mut Lanes) {
    plain_maxima(mode.isa, scores, mask, max);
}

per_isa! {
    fn plain_maxima(scores: &[f32], mask: Mask, max: &mut Lanes) = maxima_body;
}

#[inline(always)]
fn maxima_body(scores: &[f32], mask: Mask, max: &mut Lanes) {
    let rows = scores.as_chunks::<PANEL>().0;
    let mut m = max.0;
    if mask.is_full(rows.len()) {
        for row in rows {
            for i in 0..PANEL {
                m[i] = if row[i] > m[i] { row[i] } else { m[i] };
            }
        }
    } else {
        for (r, row) in rows.iter().enumerate() {
            let lanes = mask.lanes(r);
            for i in 0..PANEL {
                let seen = i >= lanes.start && i < lanes.end;
                m[i] = if seen && row[i] > m[i] { row[i] } else { m[i] };
            }
        }
    }
    max.0 = m;
}

/// `exp(scale * score - shift)` to the panel of words `[keys / per word][PANEL]`, 0 where the mask hides; adds
/// the unrounded values to `sums`. The number of keys is even.
pub fn probabilities(
    mode: Mode,
    scores: &[f32],
    mask: Mask,
    scaled: Scaled<'_>,
    sums: &mut Lanes,
    panel: &mut [u32],
) {
    let rows = scores.len() / PANEL;
    let panel = &mut panel[..rows / mode.words().per_word() * PANEL];
    #[cfg(target_arch = "x86_64")]
    if pairs(mode) {
        // SAFETY: the instruction set is available.
        return unsafe { super::avx512::probabilities(scores, mask, scaled, sums, panel) };
    }
    plain_probabilities(mode.isa, mode.words(), scores, mask, scaled, sums, panel);
}

per_isa! {
    fn plain_probabilities(
        words: Words, scores: &[f32], mask: Mask, scaled: Scaled<'_>, sums: &mut Lanes, panel: &mut [u32],
    ) = fma probabilities_body;
}

#[inline(always)]
fn probabilities_body<const FMA: bool>(
    words: Words,
    scores: &[f32],
    mask: Mask,
    scaled: Scaled<'_>,
    sums: &mut Lanes,
    panel: &mut [u32],
) {
    let mut sum = sums.0;
    let round = words == Words::RoundedF32;
    let rows = scores.as_chunks::<PANEL>().0.iter().zip(panel.as_chunks_mut::<PANEL>().0);
    for (r, (scores, panel)) in rows.enumerate() {
        let lanes = mask.lanes(r);
        for i in 0..PANEL {
            let p = exp::<FMA>(scaled.scale * scores[i] - scaled.shift.0[i]);
            let p = if i >= lanes.start && i < lanes.end { p } else { 0.0 };
            sum[i] += p;
            panel[i] = (if round { round_bf16(p) } else { p }).to_bits();
        }
    }
    sums.0 = sum;
}

/// Where [`gradients`] writes: probabilities and gradients of the scores as left rows, the latter also as a
/// panel `[keys / per word][PANEL]`.
pub struct Gradients<'a> {
    /// From the first word of the panel's lanes in the first row on.
    pub p: &'a mut [u32],
    /// As `p`.
    pub ds: &'a mut [u32],
    /// Words from row to row of both.
    pub stride: usize,
    /// The panel.
    pub panel: &'a mut [u32],
}

/// Probabilities `p` from scores and log-sum-exps, and `p * (dp - delta)`, the gradient of the scaled scores.
/// The number of keys is even.
pub fn gradients(
    mode: Mode,
    scores: &[f32],
    dp: &[f32],
    mask: Mask,
    scaled: Scaled<'_>,
    delta: &Lanes,
    out: Gradients<'_>,
) {
    let rows = scores.len() / PANEL;
    assert_eq!(scores.len(), dp.len(), "one gradient per probability");
    let lanes = PANEL / mode.words().per_word();
    let needed = (rows - 1) * out.stride + lanes;
    assert!(out.p.len() >= needed && out.ds.len() >= needed, "left rows are too short");
    assert!(out.panel.len() >= rows * lanes, "the panel is too short");
    #[cfg(target_arch = "x86_64")]
    if pairs(mode) {
        // SAFETY: the instruction set is available; all outputs hold what is written, as asserted.
        return unsafe { super::avx512::gradients(scores, dp, mask, scaled, delta, out) };
    }
    plain_gradients(mode.isa, mode.words(), scores, dp, mask, scaled, delta, out);
}

per_isa! {
    fn plain_gradients(
        words: Words, scores: &[f32], dp: &[f32], mask: Mask, scaled: Scaled<'_>, delta: &Lanes,
        out: Gradients<'_>,
    ) = fma gradients_body;
}

#[inline(always)]
fn gradients_body<const FMA: bool>(
    words: Words,
    scores: &[f32],
    dp: &[f32],
    mask: Mask,
    scaled: Scaled<'_>,
    delta: &Lanes,
    out: Gradients<'_>,
) {
    let round = words == Words::RoundedF32;
    let rows = scores.as_chunks::<PANEL>().0.iter().zip(dp.as_chunks::<PANEL>().0);
    for (r, ((scores, dp), panel)) in rows.zip(out.panel.as_chunks_mut::<PANEL>().0).enumerate() {
        let lanes = mask.lanes(r);
        let p_row = &mut out.p[r * out.stride..][..PANEL];
        let ds_row = &mut out.ds[r * out.stride..][..PANEL];
        for i in 0..PANEL {
            let p = exp::<FMA>(scaled.scale * scores[i] - scaled.shift.0[i]);
            let ds = p * (dp[i] - delta.0[i]);
            let seen = i >= lanes.start && i < lanes.end;
            let (p, ds) = if seen { (p, ds) } else { (0.0, 0.0) };
            let (p, ds) = if round { (round_bf16(p), round_bf16(ds)) } else { (p, ds) };
            p_row[i] = p.to_bits();
            ds_row[i] = ds.to_bits();
            panel[i] = ds.to_bits();
        }
    }
}

per_isa! {
    /// Scores to scaled and soft-capped ones: `cap * tanh(scale * score / cap)`.
    pub fn cap_scores(scores: &mut [f32], scale: f32, cap: f32) = fma cap_scores_body;
}

#[inline(always)]
fn cap_scores_body<const FMA: bool>(scores: &mut [f32], scale: f32, cap: f32) {
    for s in scores {
        *s = cap * tanh::<FMA>(scale * *s / cap);
    }
}

per_isa! {
    /// Gradients through the cap, for capped scores: `dp = (dp - delta) * (1 - (score / cap)^2)`.
    pub fn cap_gradients(scores: &[f32], dp: &mut [f32], delta: &Lanes, cap: f32) = cap_gradients_body;
}

#[inline(always)]
fn cap_gradients_body(scores: &[f32], dp: &mut [f32], delta: &Lanes, cap: f32) {
    for (scores, dp) in scores.as_chunks::<PANEL>().0.iter().zip(dp.as_chunks_mut::<PANEL>().0) {
        for i in 0..PANEL {
            let tanh = scores[i] / cap;
            dp[i] = (dp[i] - delta.0[i]) * (1.0 - tanh) * (1.0 + tanh);
        }
    }
}

/// Hyperbolic tangent, relative error below 1e-6. Near 0 Lambert's continued fraction, cut after x^2/9 (next
/// term: 3e-9 of the value at the border), else by the exponential.
#[inline(always)]
pub fn tanh<const FMA: bool>(x: f32) -> f32 {
    let square = x * x;
    let near = x * (945.0 + square * (105.0 + square)) / (945.0 + square * (420.0 + square * 15.0));
    let far = 1.0 - 2.0 / (exp::<FMA>(2.0 * x) + 1.0);
    if square < 0.36 { near } else { far }
}

per_isa! {
    /// `x[.., i] *= factors[i]`.
    pub fn scale_lanes(x: &mut [f32], factors: &Lanes) = scale_lanes_body;
}

#[inline(always)]
fn scale_lanes_body(x: &mut [f32], factors: &Lanes) {
    for row in x.as_chunks_mut::<PANEL>().0 {
        for i in 0..PANEL {
            row[i] *= factors.0[i];
        }
    }
}
