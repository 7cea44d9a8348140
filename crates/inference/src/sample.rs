//! From logits to the next token: greedy, temperature, nucleus.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::InferenceError;

/// Highest temperature that a request may ask for; the API's own bound.
pub const MAX_TEMPERATURE: f32 = 2.0;

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingParams {
    /// 0 takes the most likely token; 1 draws from the model's distribution as it is. At most
    /// [`MAX_TEMPERATURE`].
    pub temperature: f32,
    /// Nucleus: draws only among the most likely tokens that together hold this probability. Above 0, at most 1.
    pub top_p: f32,
    /// Seed of the draws. The same request with the same seed gives the same text.
    pub seed: u64,
}

impl SamplingParams {
    /// # Errors
    /// [`InferenceError::InvalidParameter`] names the field that is out of its range.
    pub fn check(&self) -> Result<(), InferenceError> {
        if !(0.0..=MAX_TEMPERATURE).contains(&self.temperature) {
            return Err(InferenceError::InvalidParameter {
                field: "temperature",
                message: format!("must be from 0 to {MAX_TEMPERATURE}, not {}", self.temperature),
            });
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(InferenceError::InvalidParameter {
                field: "top_p",
                message: format!("must be above 0 and at most 1, not {}", self.top_p),
            });
        }
        Ok(())
    }
}

/// Chooses the tokens of one sequence. Each sequence has its own generator, so what else is in the batch
/// has no influence on the draws.
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f64,
    rng: ChaCha8Rng,
}

impl Sampler {
    pub(crate) fn new(params: &SamplingParams) -> Self {
        Self {
            temperature: params.temperature,
            top_p: f64::from(params.top_p),
            rng: ChaCha8Rng::seed_from_u64(params.seed),
        }
    }

    /// The next token for `logits` `[V]`.
    ///
    /// Greedy ties go to the lowest id. With `top_p` below 1 the nucleus is the shortest run of tokens, by
    /// falling probability and then rising id, whose sum reaches `top_p` (arXiv:1904.09751).
    ///
    /// # Errors
    /// [`InferenceError::NotFinite`] when a logit is NaN or infinite: such numbers mean a broken model.
    pub(crate) fn next(&mut self, logits: &[f32]) -> Result<u32, InferenceError> {
        if logits.is_empty() || logits.iter().any(|x| !x.is_finite()) {
            return Err(InferenceError::NotFinite);
        }
        let best = argmax(logits);
        if self.temperature == 0.0 {
            return Ok(best as u32);
        }
        let max = f64::from(logits[best]);
        let scale = 1.0 / f64::from(self.temperature);
        let mut probabilities: Vec<f64> =
            logits.iter().map(|&x| ((f64::from(x) - max) * scale).exp()).collect();
        let sum: f64 = probabilities.iter().sum();
        probabilities.iter_mut().for_each(|p| *p /= sum);

        let candidates = if self.top_p < 1.0 {
            nucleus(&probabilities, self.top_p)
        } else {
            (0..probabilities.len()).collect()
        };
        let total: f64 = candidates.iter().map(|&i| probabilities[i]).sum();
        Ok(pick(&candidates, &probabilities, self.uniform() * total) as u32)
    }

    /// A number in `[0, 1)` with 53 random bits.
    fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, &x) in logits.iter().enumerate() {
        if x > logits[best] {
            best = i;
        }
    }
    best
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

/// Ids of the nucleus, most likely first.
fn nucleus(probabilities: &[f64], top_p: f64) -> Vec<usize> {
    // All tokens below this bound hold less than `1 - top_p` together, so none of them can be needed. It
    // spares sorting most of the vocabulary.
    let floor = (1.0 - top_p) / probabilities.len() as f64;
    let mut ids: Vec<usize> = (0..probabilities.len()).filter(|&i| probabilities[i] >= floor).collect();
    ids.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
    let mut cumulated = 0.0;
    let mut kept = 0;
    while kept < ids.len() && cumulated < top_p {
        cumulated += probabilities[ids[kept]];
        kept += 1;
    }
    ids.truncate(kept);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(temperature: f32, top_p: f32, seed: u64) -> SamplingParams {
        SamplingParams { temperature, top_p, seed }
    }

    /// How often each id comes out of `n` draws.
    fn counts(logits: &[f32], params: SamplingParams, n: usize) -> Vec<usize> {
        let mut sampler = Sampler::new(&params);
        let mut counts = vec![0; logits.len()];
        for _ in 0..n {
            counts[sampler.next(logits).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_largest_and_the_lowest_id_of_equals() {
        let check = |logits: &[f32], expect: u32| {
            assert_eq!(Sampler::new(&params(0.0, 1.0, 1)).next(logits).unwrap(), expect);
        };
        check(&[0.5], 0);
        check(&[-3.0, -1.0, -2.0], 1);
        check(&[1.0, 7.0, 7.0, 7.0], 1);
        check(&[0.0, -0.0], 0);
    }

    #[test]
    fn logits_that_are_not_finite_are_an_error_at_any_temperature() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for temperature in [0.0, 1.0] {
                let result = Sampler::new(&params(temperature, 0.9, 1)).next(&[0.0, bad, 1.0]);
                assert!(matches!(result, Err(InferenceError::NotFinite)), "{bad} {temperature}");
            }
        }
    }

    #[test]
    fn nucleus_is_the_shortest_run_that_reaches_top_p() {
        let check = |probabilities: &[f64], top_p: f64, expect: &[usize]| {
            assert_eq!(nucleus(probabilities, top_p), expect, "{probabilities:?} {top_p}");
        };
        check(&[0.1, 0.5, 0.25, 0.15], 0.5, &[1]);
        check(&[0.1, 0.5, 0.25, 0.15], 0.51, &[1, 2]);
        check(&[0.1, 0.5, 0.25, 0.15], 0.9, &[1, 2, 3]);
        check(&[0.25, 0.25, 0.25, 0.25], 0.6, &[0, 1, 2]);
        check(&[1.0, 0.0], 0.999, &[0]);
        check(&[0.3, 0.7], 1e-9, &[1]);
    }

    #[test]
    fn draws_follow_the_tempered_distribution() {
        // Odds of 4:1 at temperature 1 are 16:1 at one half and 2:1 at two.
        let logits = [4f32.ln(), 0.0];
        for (temperature, odds) in [(0.5f32, 16.0f64), (1.0, 4.0), (2.0, 2.0)] {
            let n = 20_000;
            let p = odds / (1.0 + odds);
            let got = counts(&logits, params(temperature, 1.0, 42), n)[0] as f64;
            // Five standard deviations of a binomial; the seed is fixed, so this does not vary.
            let bound = 5.0 * (n as f64 * p * (1.0 - p)).sqrt();
            assert!((got - n as f64 * p).abs() <= bound, "{temperature}: {got} of {n}, expected {p}");
        }
    }

    #[test]
    fn tokens_outside_the_nucleus_never_come_and_those_inside_do() {
        let logits: Vec<f32> = [0.5f32, 0.3, 0.15, 0.05].iter().map(|p| p.ln()).collect();
        let got = counts(&logits, params(1.0, 0.9, 7), 5_000);
        assert_eq!(got[3], 0);
        assert!(got[..3].iter().all(|&c| c > 500), "{got:?}");
    }

    #[test]
    fn a_seed_fixes_the_draws_and_another_changes_them() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let draws = |seed| {
            let mut sampler = Sampler::new(&params(1.0, 0.95, seed));
            (0..40).map(|_| sampler.next(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draws(3), draws(3));
        assert_ne!(draws(3), draws(4));
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let check = |temperature, top_p, expect: &str| {
            let got = params(temperature, top_p, 0).check().map_err(|e| e.to_string());
            assert_eq!(got.err().unwrap_or_default(), expect);
        };
        check(0.0, 1.0, "");
        check(2.0, 0.001, "");
        check(2.1, 1.0, "temperature must be from 0 to 2, not 2.1");
        check(-0.1, 1.0, "temperature must be from 0 to 2, not -0.1");
        check(f32::NAN, 1.0, "temperature must be from 0 to 2, not NaN");
        check(1.0, 0.0, "top_p must be above 0 and at most 1, not 0");
        check(1.0, 1.5, "top_p must be above 0 and at most 1, not 1.5");
        check(1.0, f32::NAN, "top_p must be above 0 and at most 1, not NaN");
    }
}
