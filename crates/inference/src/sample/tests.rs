//! Draws and scores beside plain scalar references, and what each parameter does.

use proptest::prelude::*;

use super::choose::candidates;
use super::*;

fn params(temperature: f32, top_p: f32, seed: u64) -> SamplingParams {
    SamplingParams { temperature, top_p, seed, ..SamplingParams::default() }
}

fn sampler(params: SamplingParams) -> Sampler {
    Sampler::new(params, 0, &[])
}

/// How often each id comes out of `n` draws.
fn counts(logits: &[f32], params: SamplingParams, n: usize) -> Vec<usize> {
    let mut sampler = sampler(params);
    let mut counts = vec![0; logits.len()];
    for _ in 0..n {
        counts[sampler.next(logits, None).unwrap().id as usize] += 1;
    }
    counts
}

fn logits_of(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

#[test]
fn greedy_takes_the_largest_and_the_lowest_id_of_equals() {
    let check = |logits: &[f32], id: u32| {
        let drawn = sampler(SamplingParams::greedy()).next(logits, None).unwrap();
        assert_eq!(drawn, Drawn { id, logprob: 0.0 });
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
            let result = sampler(params(temperature, 0.9, 1)).next(&[0.0, bad, 1.0], None);
            assert!(matches!(result, Err(InferenceError::NotFinite)), "{bad} {temperature}");
        }
        assert!(matches!(Score::of(&[0.0, bad], 0, 1), Err(InferenceError::NotFinite)), "{bad}");
    }
}

#[test]
fn cuts_keep_what_their_definitions_say() {
    let check = |probabilities: &[f64], change: &dyn Fn(&mut SamplingParams), expect: &[usize]| {
        let mut params = SamplingParams::default();
        change(&mut params);
        assert_eq!(candidates(probabilities, &params), expect, "{probabilities:?} {params:?}");
    };
    let four = &[0.1, 0.5, 0.25, 0.15];
    let top_p = |top_p: f32| move |p: &mut SamplingParams| p.top_p = top_p;
    check(four, &top_p(1.0), &[0, 1, 2, 3]);
    check(four, &top_p(0.5), &[1]);
    check(four, &top_p(0.51), &[1, 2]);
    check(four, &top_p(0.9), &[1, 2, 3]);
    check(four, &top_p(0.0), &[1]);
    check(&[0.25; 4], &top_p(0.6), &[0, 1, 2]);
    check(&[1.0, 0.0], &top_p(0.999), &[0]);
    check(&[0.3, 0.7], &top_p(1e-9), &[1]);
    let top_k = |k: usize| move |p: &mut SamplingParams| p.top_k = k;
    check(four, &top_k(1), &[1]);
    check(four, &top_k(4), &[0, 1, 2, 3]);
    check(four, &top_k(100), &[0, 1, 2, 3]);
    check(&[0.25; 4], &top_k(1), &[0]);
    let min_p = |min_p: f32| move |p: &mut SamplingParams| p.min_p = min_p;
    check(four, &min_p(0.25), &[1, 2, 3]);
    check(four, &min_p(0.5), &[1, 2]);
    check(four, &min_p(1.0), &[1]);
    // The mean surprise is 1.21; those of the four are 2.30, 0.69, 1.39, 1.90.
    let typical_p = |p: f32| move |params: &mut SamplingParams| params.typical_p = p;
    check(four, &typical_p(0.0), &[2]);
    check(four, &typical_p(0.25), &[2]);
    check(four, &typical_p(0.3), &[2, 1]);
    check(four, &typical_p(0.8), &[2, 1, 3]);
    // Of the two that top_k leaves, the first holds two thirds.
    check(four, &|p| (p.top_k, p.top_p) = (2, 0.6), &[1]);
    check(four, &|p| (p.top_k, p.top_p) = (2, 0.7), &[1, 2]);
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
fn tokens_that_are_cut_never_come_and_the_others_do() {
    let logits = logits_of(&[0.5, 0.3, 0.15, 0.05]);
    let check = |params: SamplingParams, kept: usize| {
        let got = counts(&logits, params.clone(), 5_000);
        assert!(got[..kept].iter().all(|&c| c > 500), "{params:?} {got:?}");
        assert!(got[kept..].iter().all(|&c| c == 0), "{params:?} {got:?}");
    };
    check(params(1.0, 0.9, 7), 3);
    check(SamplingParams { top_k: 2, ..params(1.0, 1.0, 7) }, 2);
    check(SamplingParams { min_p: 0.25, ..params(1.0, 1.0, 7) }, 3);
}

#[test]
fn a_seed_fixes_the_draws_and_another_seed_or_choice_changes_them() {
    let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
    let draws = |seed, choice| {
        let mut sampler = Sampler::new(params(1.0, 0.95, seed), choice, &[]);
        (0..40).map(|_| sampler.next(&logits, None).unwrap().id).collect::<Vec<_>>()
    };
    assert_eq!(draws(3, 0), draws(3, 0));
    assert_ne!(draws(3, 0), draws(4, 0));
    assert_ne!(draws(3, 0), draws(3, 1));
    assert_eq!(draws(3, 127), draws(3, 127));
}

#[test]
fn biases_and_penalties_turn_the_choice() {
    let logits = [2.0, 1.5, -1.0];
    let greedy = SamplingParams::greedy();
    let draws = |params: SamplingParams, prompt: &[u32]| {
        let mut sampler = Sampler::new(params, 0, prompt);
        (0..4).map(|_| sampler.next(&logits, None).unwrap().id).collect::<Vec<_>>()
    };
    let check = |params: SamplingParams, prompt: &[u32], expect: &[u32]| {
        assert_eq!(draws(params.clone(), prompt), expect, "{params:?} {prompt:?}");
    };
    check(greedy.clone(), &[0, 0], &[0, 0, 0, 0]);
    check(SamplingParams { logit_bias: vec![(2, 3.5)], ..greedy.clone() }, &[], &[2, 2, 2, 2]);
    check(SamplingParams { logit_bias: vec![(0, -100.0)], ..greedy.clone() }, &[], &[1, 1, 1, 1]);
    // After one 0 it stands at 1.4, after one 1 that at 0.9, and so it stays: presence counts once.
    check(SamplingParams { presence_penalty: 0.6, ..greedy.clone() }, &[0], &[0, 1, 0, 0]);
    // 2.0, 1.4 < 1.5, 1.4 > 0.9, 0.8 < 0.9.
    check(SamplingParams { frequency_penalty: 0.6, ..greedy.clone() }, &[0], &[0, 1, 0, 1]);
    // The prompt counts: 2.0 / 1.5 is less than 1.5.
    check(SamplingParams { repetition_penalty: 1.5, ..greedy.clone() }, &[0], &[1, 0, 0, 0]);
    check(SamplingParams { repetition_penalty: 1.5, ..greedy.clone() }, &[], &[0, 1, 0, 0]);
    // Less than 1 rewards: a negative logit comes nearer to zero, and a positive one grows.
    check(SamplingParams { repetition_penalty: 0.5, ..greedy }, &[1], &[1, 1, 1, 1]);
}

#[test]
fn the_logprob_of_a_draw_is_that_of_what_it_was_drawn_from() {
    let logits = logits_of(&[0.5, 0.3, 0.15, 0.05]);
    let mut sampler = sampler(SamplingParams { top_k: 2, ..params(1.0, 1.0, 7) });
    for _ in 0..20 {
        let drawn = sampler.next(&logits, None).unwrap();
        let expect = [0.625f32, 0.375][drawn.id as usize].ln();
        assert!((drawn.logprob - expect).abs() <= 1e-6, "{drawn:?}");
    }
}

#[test]
fn parameters_out_of_range_are_named() {
    let check = |change: &dyn Fn(&mut SamplingParams), expect: &str| {
        let mut params = SamplingParams::default();
        change(&mut params);
        let got = params.check().map_err(|e| e.to_string());
        assert_eq!(got.err().unwrap_or_default(), expect);
    };
    check(&|_| (), "");
    check(&|p| p.temperature = 2.0, "");
    check(&|p| p.temperature = 2.1, "temperature must be from 0 to 2, not 2.1");
    check(&|p| p.temperature = -0.1, "temperature must be from 0 to 2, not -0.1");
    check(&|p| p.temperature = f32::NAN, "temperature must be from 0 to 2, not NaN");
    check(&|p| p.top_p = 0.0, "");
    check(&|p| p.top_p = 1.5, "top_p must be from 0 to 1, not 1.5");
    check(&|p| p.top_p = f32::NAN, "top_p must be from 0 to 1, not NaN");
    check(&|p| p.top_k = 101, "top_k must be from 0 to 100, not 101");
    check(&|p| p.min_p = -0.5, "min_p must be from 0 to 1, not -0.5");
    check(&|p| p.typical_p = 1.1, "typical_p must be from 0 to 1, not 1.1");
    check(&|p| p.repetition_penalty = 0.0, "repetition_penalty must be above 0 and at most 2, not 0");
    check(&|p| p.repetition_penalty = f32::NAN, "repetition_penalty must be above 0 and at most 2, not NaN");
    check(&|p| p.presence_penalty = -2.5, "presence_penalty must be from -2 to 2, not -2.5");
    check(&|p| p.frequency_penalty = 3.0, "frequency_penalty must be from -2 to 2, not 3");
    check(&|p| p.logit_bias = vec![(1, 101.0)], "logit_bias must be from -100 to 100, not 101");
    check(&|p| p.logit_bias = vec![(1, 0.0); 301], "logit_bias may name at most 300 tokens, not 301");
}

/// The same cuts, as their definitions read, one id after the other.
mod reference {
    use super::SamplingParams;

    /// Probabilities after temperature, straight from the definition of the softmax.
    pub(super) fn softmax(logits: &[f64], temperature: f64) -> Vec<f64> {
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exp: Vec<f64> = logits.iter().map(|x| ((x - max) / temperature).exp()).collect();
        let sum: f64 = exp.iter().sum();
        exp.iter().map(|e| e / sum).collect()
    }

    fn scaled(probabilities: &[f64]) -> Vec<f64> {
        let sum: f64 = probabilities.iter().sum();
        probabilities.iter().map(|p| p / sum).collect()
    }

    /// Zero for all but those that are kept: by the order of `key`, until they hold `share`.
    fn run(probabilities: &[f64], share: f64, key: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut left: Vec<usize> = (0..probabilities.len()).filter(|&i| probabilities[i] > 0.0).collect();
        let (mut kept, mut held) = (vec![0.0; probabilities.len()], 0.0);
        while !left.is_empty() {
            let mut first = 0;
            for j in 1..left.len() {
                if key(left[j]) < key(left[first]) {
                    first = j;
                }
            }
            let i = left.remove(first);
            kept[i] = probabilities[i];
            held += probabilities[i];
            if held >= share {
                break;
            }
        }
        scaled(&kept)
    }

    pub(super) fn cut(probabilities: &[f64], params: &SamplingParams) -> Vec<f64> {
        let mut p = probabilities.to_vec();
        if params.top_k > 0 {
            let q = p.clone();
            let rank = |i: usize| (0..q.len()).filter(|&j| q[j] > q[i] || (q[j] == q[i] && j < i)).count();
            p = (0..q.len()).map(|i| if rank(i) < params.top_k { q[i] } else { 0.0 }).collect();
            p = scaled(&p);
        }
        if params.typical_p < 1.0 {
            let mean: f64 = p.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
            p = run(&p, params.typical_p.into(), |i| (-p[i].ln() - mean).abs());
        }
        if params.top_p < 1.0 {
            p = run(&p, params.top_p.into(), |i| -p[i]);
        }
        let most = p.iter().copied().fold(0.0, f64::max);
        let least = most * f64::from(params.min_p);
        scaled(&p.iter().map(|&p| if p >= least { p } else { 0.0 }).collect::<Vec<_>>())
    }
}

fn any_params() -> impl Strategy<Value = SamplingParams> {
    let fraction = || prop_oneof![Just(1.0f32), 0.0f32..1.0];
    let cuts = (fraction(), 0usize..6, prop_oneof![Just(0.0f32), 0.0f32..1.0], fraction());
    (cuts, 0.05f32..2.0, any::<u64>()).prop_map(|((top_p, top_k, min_p, typical_p), temperature, seed)| {
        SamplingParams { temperature, top_p, top_k, min_p, typical_p, seed, ..SamplingParams::default() }
    })
}

proptest! {
    /// Every draw is one that the reference allows, with the reference's probability.
    #[test]
    fn draws_are_those_of_the_reference(
        logits in prop::collection::vec(-8.0f32..8.0, 1..24),
        params in any_params(),
    ) {
        let wide: Vec<f64> = logits.iter().map(|&x| x.into()).collect();
        let expect = reference::cut(&reference::softmax(&wide, params.temperature.into()), &params);
        let mut sampler = sampler(params);
        for _ in 0..8 {
            let drawn = sampler.next(&logits, None).unwrap();
            let p = expect[drawn.id as usize];
            prop_assert!((f64::from(drawn.logprob).exp() - p).abs() <= 1e-6, "{:?} {}", drawn, p);
        }
    }

    /// The score is the log softmax, and the alternatives are its largest numbers.
    #[test]
    fn scores_are_those_of_the_reference(
        logits in prop::collection::vec(-50.0f32..50.0, 1..40),
        id in 0usize..40,
        top in 0usize..8,
    ) {
        let id = id % logits.len();
        let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let reference: Vec<f64> = logits.iter().map(|&x| f64::from(x) - sum.ln()).collect();
        let score = Score::of(&logits, id as u32, top).unwrap();
        let near = |got: f32, expect: f64| (f64::from(got) - expect).abs() <= 1e-5 + 1e-6 * expect.abs();
        prop_assert!(near(score.logprob, reference[id]));
        prop_assert_eq!(score.top.len(), top.min(logits.len()));
        let rank = |i: usize| {
            (0..logits.len()).filter(|&j| logits[j] > logits[i] || (logits[j] == logits[i] && j < i)).count()
        };
        for (k, &(id, logprob)) in score.top.iter().enumerate() {
            prop_assert_eq!(rank(id as usize), k);
            prop_assert!(near(logprob, reference[id as usize]));
        }
    }
}
