//! From logits to the next token: biases and penalties, temperature, and what is left to draw from.

mod choose;
mod score;

use std::collections::{HashMap, HashSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::InferenceError;
use crate::constraint::Allowed;

pub(crate) use score::Score;

/// Highest temperature that a request may ask for; the API's own bound.
pub const MAX_TEMPERATURE: f32 = 2.0;
/// Highest `top_k`; the API's own bound.
pub const MAX_TOP_K: usize = 100;
/// Presence and frequency penalties are at most this, and at least its negative; the API's own bound.
pub const MAX_PENALTY: f32 = 2.0;
/// Highest repetition penalty; the API's own bound.
pub const MAX_REPETITION_PENALTY: f32 = 2.0;
/// A bias is at most this, and at least its negative; the API's own bound.
pub const MAX_LOGIT_BIAS: f32 = 100.0;
/// Most tokens that may have a bias.
pub const MAX_BIASED_TOKENS: usize = 300;

/// How tokens are chosen. The default draws from the model's distribution as it is.
///
/// The steps, in this order: `logit_bias` is added to the logits; `repetition_penalty`, `presence_penalty` and
/// `frequency_penalty` change them; tokens that a constraint forbids are left out; `temperature` divides the others; the
/// softmax of the result is cut by `top_k`, `typical_p`, `top_p` and `min_p`, each over what the one before left; one
/// token is drawn from the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// 0 takes the most likely token; 1 leaves the distribution as it is. At most [`MAX_TEMPERATURE`].
    pub temperature: f32,
    /// Nucleus: draws only among the most likely tokens that together hold this probability. From 0, which leaves
    /// the most likely one, to 1, which leaves all.
    pub top_p: f32,
    /// Draws only among this many most likely tokens; 0 is all. At most [`MAX_TOP_K`].
    pub top_k: usize,
    /// Draws only among tokens that are at least this times as likely as the most likely one. From 0 to 1.
    pub min_p: f32,
    /// Locally typical: draws only among the tokens whose surprise is nearest to the mean, and that together hold
    /// this probability. From 0, which leaves one, to 1, which leaves all.
    pub typical_p: f32,
    /// Divides the positive logits of tokens that the prompt or the answer has, and multiplies their negative ones.
    /// Above 0, at most [`MAX_REPETITION_PENALTY`]; 1 is none.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens that the answer has.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens, once for each time that the answer has them.
    pub frequency_penalty: f32,
    /// Added to the logits of single tokens, by id.
    pub logit_bias: Vec<(u32, f32)>,
    /// Seed of the draws. The same request with the same seed gives the same texts; each choice of a request has
    /// draws of its own.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

impl SamplingParams {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// # Errors
    /// [`InferenceError::InvalidParameter`] names the field that is out of its range.
    pub fn check(&self) -> Result<(), InferenceError> {
        let within = |field: &'static str, value: f32, from: f32, to: f32| {
            if (from..=to).contains(&value) {
                return Ok(());
            }
            Err(invalid(field, format!("must be from {from} to {to}, not {value}")))
        };
        within("temperature", self.temperature, 0.0, MAX_TEMPERATURE)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        within("typical_p", self.typical_p, 0.0, 1.0)?;
        within("presence_penalty", self.presence_penalty, -MAX_PENALTY, MAX_PENALTY)?;
        within("frequency_penalty", self.frequency_penalty, -MAX_PENALTY, MAX_PENALTY)?;
        let repetition = self.repetition_penalty;
        if !(repetition > 0.0 && repetition <= MAX_REPETITION_PENALTY) {
            let message = format!("must be above 0 and at most {MAX_REPETITION_PENALTY}, not {repetition}");
            return Err(invalid("repetition_penalty", message));
        }
        if self.top_k > MAX_TOP_K {
            let message = format!("must be from 0 to {MAX_TOP_K}, not {}", self.top_k);
            return Err(invalid("top_k", message));
        }
        if self.logit_bias.len() > MAX_BIASED_TOKENS {
            let message =
                format!("may name at most {MAX_BIASED_TOKENS} tokens, not {}", self.logit_bias.len());
            return Err(invalid("logit_bias", message));
        }
        self.logit_bias
            .iter()
            .try_for_each(|&(_, bias)| within("logit_bias", bias, -MAX_LOGIT_BIAS, MAX_LOGIT_BIAS))
    }

    /// Whether the logits are changed before the temperature.
    fn changes_logits(&self) -> bool {
        !self.logit_bias.is_empty()
            || self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }
}

fn invalid(field: &'static str, message: String) -> InferenceError {
    InferenceError::InvalidParameter { field, message }
}

/// A chosen token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) id: u32,
    /// Logarithm of the probability with which it was drawn, after everything in [`SamplingParams`].
    pub(crate) logprob: f32,
}

/// Chooses the tokens of one sequence. Each sequence has its own generator, so what else is in the batch
/// has no influence on the draws.
pub(crate) struct Sampler {
    params: SamplingParams,
    rng: ChaCha8Rng,
    /// Tokens of the prompt and the answer; kept if a repetition penalty needs them.
    present: HashSet<u32>,
    /// How often the answer has each of its tokens.
    counts: HashMap<u32, u32>,
}

impl Sampler {
    /// For the choice of that index in its request, after `prompt`.
    pub(crate) fn new(params: SamplingParams, choice: usize, prompt: &[u32]) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
        rng.set_stream(choice as u64);
        let present =
            if params.repetition_penalty == 1.0 { HashSet::new() } else { prompt.iter().copied().collect() };
        Self { params, rng, present, counts: HashMap::new() }
    }

    /// The next token for `logits` `[V]`, among those that may come.
    ///
    /// # Errors
    /// [`InferenceError::NotFinite`] when a logit is NaN or infinite: such numbers mean a broken model.
    /// [`InferenceError::ConstraintFailed`] when no token may come.
    pub(crate) fn next(
        &mut self,
        logits: &[f32],
        allowed: Option<&Allowed<'_>>,
    ) -> Result<Drawn, InferenceError> {
        if logits.is_empty() || logits.iter().any(|x| !x.is_finite()) {
            return Err(InferenceError::NotFinite);
        }
        let mut logits = self.adjusted(logits);
        if let Some(allowed) = allowed {
            let mut any = false;
            for (id, x) in logits.iter_mut().enumerate() {
                if allowed.has(id as u32) {
                    any = true;
                } else {
                    *x = f64::NEG_INFINITY;
                }
            }
            if !any {
                return Err(InferenceError::ConstraintFailed);
            }
        }
        let uniform = || (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let drawn = choose::choose(&logits, &self.params, uniform);
        if self.params.changes_logits() {
            *self.counts.entry(drawn.id).or_insert(0) += 1;
            self.present.insert(drawn.id);
        }
        Ok(drawn)
    }

    /// The logits with biases and penalties.
    ///
    /// Sources: repetition arXiv:1909.05858, with the usual rule for negative logits; presence and frequency as
    /// OpenAI's API defines them, over the tokens of the answer.
    fn adjusted(&self, logits: &[f32]) -> Vec<f64> {
        let mut logits: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
        for &(id, bias) in &self.params.logit_bias {
            if let Some(x) = logits.get_mut(id as usize) {
                *x += f64::from(bias);
            }
        }
        let repetition = f64::from(self.params.repetition_penalty);
        if repetition != 1.0 {
            for &id in &self.present {
                if let Some(x) = logits.get_mut(id as usize) {
                    *x = if *x > 0.0 { *x / repetition } else { *x * repetition };
                }
            }
        }
        let (presence, frequency) =
            (f64::from(self.params.presence_penalty), f64::from(self.params.frequency_penalty));
        if presence != 0.0 || frequency != 0.0 {
            for (&id, &count) in &self.counts {
                if let Some(x) = logits.get_mut(id as usize) {
                    *x -= presence + frequency * f64::from(count);
                }
            }
        }
        logits
    }
}

#[cfg(test)]
mod tests;
