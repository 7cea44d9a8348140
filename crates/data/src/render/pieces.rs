//! Samples for people to look at.

use super::{Renderer, Sample};
use crate::error::Error;

/// Tokens before a part that its text is decoded with: some decoders treat a first token differently.
const CONTEXT_TOKENS: usize = 8;
/// Most tokens of a piece: a character has 4 bytes at most, and real U+FFFD look unfinished too.
const MAX_PIECE_TOKENS: usize = 8;

/// The fewest neighbouring tokens that make whole characters; all have one loss weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// What they say.
    pub text: String,
    /// Loss weight of each.
    pub weight: f32,
    /// Their ids.
    pub tokens: Vec<u32>,
}

impl Renderer {
    /// A sample in parts of equal weight. Their texts, one after the other, are the text of the sample.
    pub fn segments(&self, sample: &Sample) -> Result<Vec<Piece>, Error> {
        let mut segments = Vec::new();
        let mut at = 0;
        while let Some(&weight) = sample.weights.get(at) {
            let len = sample.weights[at..].iter().take_while(|other| **other == weight).count();
            segments.push(self.part(sample, at, len)?);
            at += len;
        }
        Ok(segments)
    }

    /// A sample token by token; tokens that hold parts of one character come together.
    pub fn pieces(&self, sample: &Sample) -> Result<Vec<Piece>, Error> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while let Some(&weight) = sample.weights.get(at) {
            let most = sample.weights[at..].iter().take_while(|other| **other == weight).count();
            let mut len = 1;
            let mut piece = self.part(sample, at, len)?;
            while piece.text.ends_with(char::REPLACEMENT_CHARACTER) && len < most.min(MAX_PIECE_TOKENS) {
                len += 1;
                piece = self.part(sample, at, len)?;
            }
            pieces.push(piece);
            at += len;
        }
        Ok(pieces)
    }

    /// The tokens from `at` on, which have one weight.
    fn part(&self, sample: &Sample, at: usize, len: usize) -> Result<Piece, Error> {
        let tokens = sample.tokens[at..at + len].to_vec();
        let context = &sample.tokens[at.saturating_sub(CONTEXT_TOKENS)..at];
        let both = self.tokenizer.decode(&[context, &tokens].concat(), false)?;
        let text = match both.strip_prefix(self.tokenizer.decode(context, false)?.as_str()) {
            Some(text) => text.to_owned(),
            None => self.tokenizer.decode(&tokens, false)?,
        };
        Ok(Piece { text, weight: sample.weights[at], tokens })
    }
}
