//! Several training sequences in one run of token rows.
//!
//! Sequences that begin alike share the rows of their common beginning ([`Packed::of`]): causality makes all that a
//! model computes there the same, so it is computed once. The gradients that reach shared rows add up to what the
//! copies would have had.

use std::ops::Range;

use hearth_kernels::backend::Segment;

use crate::config::ModelConfig;
use crate::error::{Error, Result};

/// Shorter common beginnings are not shared.
const LEAST_SHARED: usize = 8;

/// Packed rows: sequences one after another, each attending only to itself. All vectors but `segments`
/// have one entry per row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packed {
    /// Token ids, `[T]`.
    pub tokens: Vec<u32>,
    /// Position of each token in its own sequence, `[T]`.
    pub positions: Vec<u32>,
    /// The rows of each sequence, and of each common beginning; own rows are in order, without gaps, and cover `0..T`.
    pub segments: Vec<Segment>,
    /// The token that row `i` has to predict, `[T]`; any id where the weight is 0.
    pub targets: Vec<u32>,
    /// Loss weight of the prediction made at row `i`, `[T]`; 0 at the last row of a sequence.
    pub weights: Vec<f32>,
}

impl Packed {
    /// Appends a sequence. `weights[i]` is the loss weight of predicting `tokens[i]`, so `weights[0]` is
    /// not used. Panics when the lengths differ.
    pub fn push(&mut self, tokens: &[u32], weights: &[f32]) {
        self.push_rows((tokens, weights), 0..tokens.len(), 0..0);
    }

    /// Appends these rows of a sequence, whose others are the rows `shared`.
    fn push_rows(&mut self, (tokens, weights): (&[u32], &[f32]), rows: Range<usize>, shared: Range<usize>) {
        assert_eq!(tokens.len(), weights.len(), "one weight per token");
        if rows.is_empty() {
            return;
        }
        let start = self.tokens.len();
        for i in rows {
            self.tokens.push(tokens[i]);
            self.positions.push(i as u32);
            self.targets.push(tokens.get(i + 1).copied().unwrap_or_default());
            self.weights.push(weights.get(i + 1).copied().unwrap_or_default());
        }
        self.segments.push(Segment { shared, own: start..self.tokens.len() });
    }

    /// Sequences as [`Packed::push`] takes them, in their order, but for two things that change no loss and no gradient:
    /// those with the same eight tokens or more at their beginning, before any prediction that has weight,
    /// share rows, and no sequence has rows behind its last prediction that has weight.
    pub fn of<'a>(sequences: impl IntoIterator<Item = (&'a [u32], &'a [f32])>) -> Self {
        let sequences: Vec<_> = sequences.into_iter().collect();
        let mut packed = Self::default();
        for Group { members, shared } in groups(&sequences) {
            let start = packed.len();
            packed.push_rows(sequences[members[0]], 0..shared, 0..0);
            for member in members {
                let rows = shared..needed(sequences[member]);
                packed.push_rows(
                    sequences[member],
                    rows,
                    if shared > 0 { start..start + shared } else { 0..0 },
                );
            }
        }
        packed
    }

    /// Tokens that all of several sequences may share, as [`Packed::of`] does it; 0 for one sequence.
    pub fn common_beginning<'a>(sequences: impl IntoIterator<Item = (&'a [u32], &'a [f32])>) -> usize {
        let mut sequences = sequences.into_iter();
        let (Some(first), Some(second)) = (sequences.next(), sequences.next()) else { return 0 };
        let mut common = shareable(first);
        for sequence in std::iter::once(second).chain(sequences) {
            common = same(first.0, sequence.0, common.min(shareable(sequence)));
            if common < LEAST_SHARED {
                return 0;
            }
        }
        common
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
            let Segment { shared, own } = segment;
            if own.start != end || own.end <= own.start {
                return Err(Error::Input(format!("segment {own:?} does not follow row {end}")));
            }
            let known =
                |other: &Segment| other.shared.is_empty() && other.own == *shared && shared.end <= own.start;
            if !shared.is_empty() && !self.segments.iter().any(known) {
                return Err(Error::Input(format!(
                    "segment {own:?} shares rows {shared:?}, which are no segment"
                )));
            }
            end = own.end;
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

/// Sequences that share rows, or one sequence.
struct Group {
    members: Vec<usize>,
    /// Tokens; 0 for one sequence.
    shared: usize,
}

/// Puts sequences with common beginnings together; groups come in the order of their first members. Neighbours in
/// the order of their tokens join as long as that saves rows.
fn groups(sequences: &[(&[u32], &[f32])]) -> Vec<Group> {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|&i| (sequences[i].0, i));
    let mut groups: Vec<Group> = Vec::new();
    // Tokens that the members of the last group could share.
    let mut possible = 0;
    for i in order {
        let own = shareable(sequences[i]);
        if let Some(group) = groups.last_mut() {
            let (first, _) = sequences[group.members[0]];
            let common = same(first, sequences[i].0, possible.min(own));
            let saved = (group.members.len() - 1) * group.shared;
            if common >= LEAST_SHARED && group.members.len() * common >= saved {
                group.members.push(i);
                group.shared = common;
                possible = common;
                continue;
            }
        }
        groups.push(Group { members: vec![i], shared: 0 });
        possible = own;
    }
    groups.iter_mut().for_each(|group| group.members.sort_unstable());
    groups.sort_by_key(|group| group.members[0]);
    groups
}

/// How many of the first `most` tokens are the same.
fn same(a: &[u32], b: &[u32], most: usize) -> usize {
    a.iter().zip(b).take(most).take_while(|(a, b)| a == b).count()
}

/// Rows of a sequence that a loss depends on, at least one.
fn needed((tokens, weights): (&[u32], &[f32])) -> usize {
    weights.iter().rposition(|&weight| weight != 0.0).unwrap_or_default().max(1).min(tokens.len())
}

/// Tokens at the beginning of a sequence whose rows may be shared: nothing that they predict has weight, even what
/// follows them. At least one row stays.
fn shareable(sequence: (&[u32], &[f32])) -> usize {
    let needed = needed(sequence);
    let first = sequence.1.iter().skip(1).position(|&weight| weight != 0.0).unwrap_or(needed);
    first.min(needed.saturating_sub(1))
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
    use super::{Packed, Segment};

    #[test]
    fn targets_and_weights_move_to_the_predicting_row() {
        let mut packed = Packed::default();
        packed.push(&[5, 6, 7], &[0.0, 0.0, 1.0]);
        packed.push(&[], &[]);
        packed.push(&[8, 9], &[0.0, 0.5]);
        let expect = Packed {
            tokens: vec![5, 6, 7, 8, 9],
            positions: vec![0, 1, 2, 0, 1],
            segments: vec![Segment::from(0..3), Segment::from(3..5)],
            targets: vec![6, 7, 0, 9, 0],
            weights: vec![0.0, 1.0, 0.0, 0.5, 0.0],
        };
        assert_eq!(packed, expect);
        assert_eq!(packed.trained(), (vec![1, 3], vec![7, 9], vec![1.0, 0.5]));
    }

    /// Rows of shared beginnings, and of each sequence alone.
    fn segments(sequences: &[(&[u32], &[f32])]) -> Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> {
        let packed = Packed::of(sequences.iter().copied());
        packed.segments.into_iter().map(|Segment { shared, own }| (shared, own)).collect()
    }

    #[test]
    fn common_beginnings_are_rows_once() {
        let tokens = |n: u32, end: &[u32]| (0..n).chain(end.iter().copied()).collect::<Vec<u32>>();
        let last = |tokens: &[u32]| {
            let mut weights = vec![0.0; tokens.len()];
            *weights.last_mut().unwrap() = 1.0;
            weights
        };
        let (a, b, c) = (tokens(10, &[20, 21, 22]), tokens(10, &[30, 31]), tokens(3, &[40, 41]));
        let (wa, wb, wc) = (last(&a), last(&b), last(&c));
        let (a, b, c) = ((&a[..], &wa[..]), (&b[..], &wb[..]), (&c[..], &wc[..]));
        assert_eq!(segments(&[a, c, b]), [(0..0, 0..10), (0..10, 10..12), (0..10, 12..13), (0..0, 13..17)]);
        assert_eq!(segments(&[c, a]), [(0..0, 0..4), (0..0, 4..16)]);
        // What row 7 predicts is trained, so seven rows may be shared, which is too few.
        let mut early = wa.clone();
        early[8] = 1.0;
        assert_eq!(segments(&[(a.0, &early), b]), [(0..0, 0..12), (0..0, 12..23)]);
        // The same sequence twice keeps the row that predicts its trained end.
        assert_eq!(segments(&[a, a]), [(0..0, 0..11), (0..11, 11..12), (0..11, 12..13)]);
        let packed = Packed::of([a, b]);
        assert_eq!(packed.positions[10..], [10, 11, 10]);
        assert_eq!(packed.trained(), (vec![11, 12], vec![22, 31], vec![1.0, 1.0]));
    }
}
