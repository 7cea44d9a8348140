//! Scores to probabilities and gradients, one panel of lanes at a time.
//!
//! Scores lie as `[keys][PANEL]`: a lane is a query, so maxima and sums run down the rows without crossing
//! lanes, and what comes out is in the layout that the next product reads.

use crate::attention::layout::Mask;
use crate::attention::words::Left;
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

/// What a running maximum starts from: below all scores, and finite, since differences of it are taken.
const LOWEST: f32 = -1e30;
/// How far scores may lie above the maximum in use before sums are rescaled: e^5 is no loss of range.
const SLACK: f32 = 5.0;

/// Softmax of one panel so far.
#[derive(Clone, Copy)]
pub struct Running {
    /// What is taken from the scaled scores. At most [`SLACK`] below their maximum, or with
    /// [`score_probabilities`] so that the sum stays below its limit.
    pub shift: Lanes,
    /// Sum of the exponentials.
    pub sum: Lanes,
    /// Whether there are outputs to add to.
    pub started: bool,
}

impl Running {
    /// Sums that do without a new maximum: 2^40, far from the end of the range also when values are added up.
    pub const LARGEST_SUM: f32 = (1u64 << 40) as f32;

    /// Before the first key.
    pub const START: Self = Self { shift: Lanes([LOWEST; PANEL]), sum: Lanes([0.0; PANEL]), started: false };

    /// Takes the maxima of unscaled scores in: where one lies too far above what is in use, rescales the sum and
    /// the outputs so far.
    pub fn raise(&mut self, mode: Mode, max: Lanes, scale: f32, outputs: &mut [f32]) {
        let mut max = max;
        let mut far = false;
        for (max, shift) in max.0.iter_mut().zip(&self.shift.0) {
            *max *= scale;
            far |= *max > shift + SLACK;
        }
        if !far {
            return;
        }
        let mut factors = Lanes([1.0; PANEL]);
        for (lane, &max) in max.0.iter().enumerate() {
            let shift = &mut self.shift.0[lane];
            if max > *shift {
                if self.started {
                    factors.0[lane] = (*shift - max).exp();
                }
                *shift = max;
            }
        }
        if self.started {
            scale_lanes(mode.isa, &mut self.sum.0, &factors);
            scale_lanes(mode.isa, outputs, &factors);
        }
    }
}

/// Whether the AVX-512 form for pairs of bf16 applies.
fn pairs(mode: Mode) -> bool {
    mode.words() == Words::Bf16Pairs
}

/// Whether scores need not be stored between their product and the softmax.
fn fused(mode: Mode) -> bool {
    pairs(mode) && !mode.tiles
}

fn holds(left: Left<'_>) -> bool {
    left.rows.is_multiple_of(2) && left.words.len() >= (left.rows.max(1) - 1) * left.stride + left.depth
}

/// Scores of keys `k` and a panel of queries, and [`probabilities`] of them, in one go. The first tile takes the
/// maximum of some keys as shift, which stays: a maximum that grows needs no pass over scores, since the sums show
/// it. False if it grew too far, and where there is no such kernel: then nothing but `panel` was changed.
pub fn score_probabilities(
    mode: Mode,
    k: Left<'_>,
    q: &[u32],
    mask: Mask,
    scale: f32,
    state: &mut Running,
    panel: &mut [u32],
) -> bool {
    if !fused(mode) {
        return false;
    }
    assert!(holds(k) && q.len() >= k.depth * PANEL, "keys or queries are too short");
    assert!(panel.len() >= k.rows / 2 * PANEL, "the panel is too short");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction set is available; all operands hold what is read and written, as asserted.
    return unsafe { super::avx512::fused::probabilities(k, q, mask, scale, state, panel) };
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("the instruction set is of x86-64");
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

impl Gradients<'_> {
    /// Panics unless there is room for so many keys.
    fn check(&self, mode: Mode, keys: usize) {
        let lanes = PANEL / mode.words().per_word();
        let needed = (keys - 1) * self.stride + lanes;
        assert!(self.p.len() >= needed && self.ds.len() >= needed, "left rows are too short");
        assert!(self.panel.len() >= keys * lanes, "the panel is too short");
    }
}

/// Scores of keys and queries, products of values and output gradients, and [`gradients`] of them, in one go; `kv`
/// and `sides` are the left sides and the panels of both products. False where there is no such kernel.
pub fn score_gradients(
    mode: Mode,
    kv: [Left<'_>; 2],
    sides: [&[u32]; 2],
    mask: Mask,
    scaled: Scaled<'_>,
    delta: &Lanes,
    out: &mut Gradients<'_>,
) -> bool {
    if !fused(mode) {
        return false;
    }
    let [k, v] = kv;
    assert!((k.rows, k.stride, k.depth) == (v.rows, v.stride, v.depth), "one value per key");
    assert!(kv.into_iter().all(holds), "keys or values are too short");
    assert!(sides.iter().all(|side| side.len() >= k.depth * PANEL), "a panel is too short");
    out.check(mode, k.rows);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction set is available; all operands hold what is read and written, as asserted.
    unsafe {
        super::avx512::fused::gradients(kv, sides, mask, scaled, delta, out);
    }
    true
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
    assert_eq!(scores.len(), dp.len(), "one gradient per probability");
    out.check(mode, scores.len() / PANEL);
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
        for (x, factor) in row.iter_mut().zip(&factors.0) {
            *x *= factor;
        }
    }
}
