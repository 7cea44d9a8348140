//! Log probabilities of the model's own distribution.

use crate::InferenceError;

/// What the model thought of a token before biases, penalties, temperature and cuts: the log softmax of its logits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Score {
    /// Of the token itself.
    pub(crate) logprob: f32,
    /// The most likely tokens at its place, the most likely first, of equals the lowest id.
    pub(crate) top: Vec<(u32, f32)>,
}

impl Score {
    /// Of token `id` at the place of `logits` `[V]`, with `top` alternatives.
    ///
    /// # Errors
    /// [`InferenceError::NotFinite`] when a logit is NaN or infinite.
    pub(crate) fn of(logits: &[f32], id: u32, top: usize) -> Result<Self, InferenceError> {
        if !logits.iter().all(|x| x.is_finite()) {
            return Err(InferenceError::NotFinite);
        }
        let chosen = *logits.get(id as usize).ok_or(InferenceError::NotFinite)?;
        let max = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
        let logprob = |x: f32| (f64::from(x) - max - sum.ln()) as f32;
        let mut ids: Vec<u32> = if top == 0 { Vec::new() } else { (0..logits.len() as u32).collect() };
        let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if top < ids.len() {
            ids.select_nth_unstable_by(top - 1, order);
        }
        ids.truncate(top);
        ids.sort_unstable_by(order);
        let top = ids.into_iter().map(|id| (id, logprob(logits[id as usize]))).collect();
        Ok(Self { logprob: logprob(chosen), top })
    }
}
