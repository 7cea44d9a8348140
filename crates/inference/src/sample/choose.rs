//! From adjusted logits to one token: temperature, the cuts, the draw.

use super::{Drawn, SamplingParams};

/// Draws one token. A logit of negative infinity is a token that may not come; at least one is finite and none is NaN.
///
/// Temperature 0 takes the largest logit; ties go to the lowest id. `uniform` gives a number in `[0, 1)` and is asked
/// at most once.
pub(super) fn choose(logits: &[f64], params: &SamplingParams, uniform: impl FnOnce() -> f64) -> Drawn {
    let best = argmax(logits);
    if params.temperature == 0.0 {
        return Drawn { id: best as u32, logprob: 0.0 };
    }
    let max = logits[best];
    let scale = 1.0 / f64::from(params.temperature);
    let mut probabilities: Vec<f64> = logits.iter().map(|&x| ((x - max) * scale).exp()).collect();
    let sum: f64 = probabilities.iter().sum();
    probabilities.iter_mut().for_each(|p| *p /= sum);
    let candidates = candidates(&probabilities, params);
    let total = mass(&candidates, &probabilities);
    let id = pick(&candidates, &probabilities, uniform() * total);
    Drawn { id: id as u32, logprob: (probabilities[id] / total).ln() as f32 }
}

/// Index of the largest number, the lowest of equals.
fn argmax(logits: &[f64]) -> usize {
    let mut best = 0;
    for (i, &x) in logits.iter().enumerate() {
        if x > logits[best] {
            best = i;
        }
    }
    best
}

/// Ids that the draw is among: at least one. Each cut works on what the one before left, as if its probabilities
/// were scaled to a sum of 1.
pub(super) fn candidates(probabilities: &[f64], params: &SamplingParams) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..probabilities.len()).collect();
    if params.top_k > 0 && params.top_k < ids.len() {
        ids = top_k(ids, probabilities, params.top_k);
    }
    if params.typical_p < 1.0 {
        ids = typical(ids, probabilities, f64::from(params.typical_p));
    }
    if params.top_p < 1.0 {
        ids = nucleus(ids, probabilities, f64::from(params.top_p));
    }
    if params.min_p > 0.0 {
        let most = ids.iter().map(|&i| probabilities[i]).fold(0.0, f64::max);
        ids.retain(|&i| probabilities[i] >= f64::from(params.min_p) * most);
    }
    ids
}

fn mass(ids: &[usize], probabilities: &[f64]) -> f64 {
    ids.iter().map(|&i| probabilities[i]).sum()
}

/// The `k` most likely ids; of equals the lowest.
fn top_k(mut ids: Vec<usize>, probabilities: &[f64], k: usize) -> Vec<usize> {
    ids.select_nth_unstable_by(k - 1, |&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
    ids.truncate(k);
    ids
}

/// The shortest run of ids, by falling probability and then rising id, whose share reaches `top_p`
/// (arXiv:1904.09751), most likely first.
fn nucleus(mut ids: Vec<usize>, probabilities: &[f64], top_p: f64) -> Vec<usize> {
    let total = mass(&ids, probabilities);
    // All ids below this bound hold less than `1 - top_p` together, so none of them can be needed. It spares
    // sorting most of the vocabulary.
    let floor = (1.0 - top_p) * total / ids.len() as f64;
    ids.retain(|&i| probabilities[i] >= floor);
    ids.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
    shortest_run(ids, probabilities, top_p * total)
}

/// The shortest run of ids, by rising distance of their surprise `-ln p` from the mean surprise and then rising id,
/// whose share reaches `typical_p` (arXiv:2202.00666).
fn typical(mut ids: Vec<usize>, probabilities: &[f64], typical_p: f64) -> Vec<usize> {
    // What has no probability has no surprise either, and never comes.
    ids.retain(|&i| probabilities[i] > 0.0);
    let total = mass(&ids, probabilities);
    let surprise = |i: usize| -(probabilities[i] / total).ln();
    let mean: f64 = ids.iter().map(|&i| probabilities[i] / total * surprise(i)).sum();
    let distance = |i: usize| (surprise(i) - mean).abs();
    ids.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)).then(a.cmp(&b)));
    shortest_run(ids, probabilities, typical_p * total)
}

/// The first ids up to the one with which their probabilities reach `wanted`: at least one.
fn shortest_run(mut ids: Vec<usize>, probabilities: &[f64], wanted: f64) -> Vec<usize> {
    let mut cumulated = 0.0;
    let mut kept = 0;
    while kept < ids.len() && (kept == 0 || cumulated < wanted) {
        cumulated += probabilities[ids[kept]];
        kept += 1;
    }
    ids.truncate(kept);
    ids
}

/// The candidate in whose share of the cumulated probabilities `mark` falls.
fn pick(candidates: &[usize], probabilities: &[f64], mark: f64) -> usize {
    let mut cumulated = 0.0;
    for &i in candidates {
        cumulated += probabilities[i];
        if mark < cumulated {
            return i;
        }
    }
    // Only rounding leads here: `mark` is below the total.
    candidates.iter().copied().rev().find(|&i| probabilities[i] > 0.0).unwrap_or(candidates[0])
}
