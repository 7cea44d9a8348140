//! Several training sequences in one run of token rows.

use std::ops::Range;

use crate::config::ModelConfig;
use crate::error::{Error, Result};

/// Packed rows: sequences one after another, each attending only to itself. All vectors but `segments`
/// have one entry per row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packed {
    /// Token ids, `[T]`.
    pub tokens: Vec<u32>,
    /// Position of each token in its own sequence, `[T]`.
    pub positions: Vec<u32>,
    /// The rows of each sequence; in order, without gaps, covering `0..T`.
    pub segments: Vec<Range<usize>>,
    /// The token that row `i` has to predict, `[T]`; any id where the weight is 0.
    pub targets: Vec<u32>,
    /// Loss weight of the prediction made at row `i`, `[T]`; 0 at the last row of a sequence.
    pub weights: Vec<f32>,
}

impl Packed {
    /// Appends a sequence. `weights[i]` is the loss weight of predicting `tokens[i]`, so `weights[0]` is
    /// not used. Panics when the lengths differ.
    pub fn push(&mut self, tokens: &[u32], weights: &[f32]) {
        assert_eq!(tokens.len(), weights.len(), "one weight per token");
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(0..tokens.len() as u32);
        if let (Some((_, targets)), Some((_, weights))) = (tokens.split_first(), weights.split_first()) {
            self.targets.extend_from_slice(targets);
            self.targets.push(0);
            self.weights.extend_from_slice(weights);
            self.weights.push(0.0);
            self.segments.push(start..self.tokens.len());
        }
    }

    /// Number of token rows T.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Rows whose prediction has loss weight, with their targets and weights.
    pub(crate) fn trained(&self) -> (Vec<u32>, Vec<u32>, Vec<f32>) {
        let mut rows = Vec::new();
        let mut targets = Vec::new();
        let mut weights = Vec::new();
        for (i, (&target, &weight)) in self.targets.iter().zip(&self.weights).enumerate() {
            if weight != 0.0 {
                rows.push(i as u32);
                targets.push(target);
                weights.push(weight);
            }
        }
        (rows, targets, weights)
    }

    /// Checks that the vectors fit one another and the model.
    pub(crate) fn check(&self, config: &ModelConfig) -> Result<()> {
        let t = self.tokens.len();
        if t == 0 || u32::try_from(t).is_err() {
            return Err(Error::Input(format!("a packed batch of {t} tokens")));
        }
        for (what, len) in [
            ("positions", self.positions.len()),
            ("targets", self.targets.len()),
            ("weights", self.weights.len()),
        ] {
            if len != t {
                return Err(Error::Input(format!("{len} {what} for {t} tokens")));
            }
        }
        let mut end = 0;
        for segment in &self.segments {
            if segment.start != end || segment.end <= segment.start {
                return Err(Error::Input(format!("segment {segment:?} does not follow row {end}")));
            }
            end = segment.end;
        }
        if end != t {
            return Err(Error::Input(format!("segments cover {end} of {t} rows")));
        }
        check_tokens(&self.tokens, config)?;
        check_tokens(&self.targets, config)?;
        match self.weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            Some(row) => Err(Error::Input(format!("loss weight {} at row {row}", self.weights[row]))),
            None => Ok(()),
        }
    }
}

/// Refuses token ids that the embedding table does not have.
pub(crate) fn check_tokens(tokens: &[u32], config: &ModelConfig) -> Result<()> {
    match tokens.iter().position(|&id| id as usize >= config.vocab_size) {
        Some(row) => Err(Error::Input(format!(
            "token id {} at row {row} is not below the model's vocabulary of {}; tokenizer and model do not match",
            tokens[row], config.vocab_size
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::Packed;

    #[test]
    fn targets_and_weights_move_to_the_predicting_row() {
        let mut packed = Packed::default();
        packed.push(&[5, 6, 7], &[0.0, 0.0, 1.0]);
        packed.push(&[], &[]);
        packed.push(&[8, 9], &[0.0, 0.5]);
        let expect = Packed {
            tokens: vec![5, 6, 7, 8, 9],
            positions: vec![0, 1, 2, 0, 1],
            segments: vec![0..3, 3..5],
            targets: vec![6, 7, 0, 9, 0],
            weights: vec![0.0, 1.0, 0.0, 0.5, 0.0],
        };
        assert_eq!(packed, expect);
        assert_eq!(packed.trained(), (vec![1, 3], vec![7, 9], vec![1.0, 0.5]));
    }
}
