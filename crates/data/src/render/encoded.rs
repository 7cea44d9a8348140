//! A text that is encoded once, and the ids of its beginnings.
//!
//! A conversation's text has a beginning for each of its answers: the prompt before it and the turn with it. Encoding all
//! of them takes a time that grows with the square of the conversation. Tokenizers divide a text at added tokens before
//! anything else, and encode what is between them by itself. So a beginning that ends behind an added token has the ids that
//! stand in the whole text, and what follows that token is encoded alone.

use crate::error::Error;
use crate::tokenizer::{Place, Tokenizer};

/// A text with its ids.
pub(super) struct EncodedText<'a> {
    tokenizer: &'a Tokenizer,
    text: &'a str,
    ids: Vec<u32>,
    /// Where each token begins and ends in the text.
    places: Vec<Place>,
    /// Indices of added tokens.
    added: Vec<usize>,
}

impl<'a> EncodedText<'a> {
    /// Encodes a text.
    pub(super) fn new(tokenizer: &'a Tokenizer, text: &'a str) -> Result<Self, Error> {
        let (ids, places) = tokenizer.encode_with_places(text)?;
        let added = (0..ids.len()).filter(|&index| tokenizer.is_added(ids[index])).collect();
        Ok(EncodedText { tokenizer, text, ids, places, added })
    }

    /// Tokens of the whole text.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The ids of the first `prompt_bytes` bytes, and of what follows them in the first `turn_bytes`: as part of that
    /// beginning if the prompt's ids stand there unchanged, else alone, as the model writes it after the prompt.
    pub(super) fn turn(&self, prompt_bytes: usize, turn_bytes: usize) -> Result<(Vec<u32>, Vec<u32>), Error> {
        let prompt = self.beginning(prompt_bytes)?;
        let turn = self.beginning(turn_bytes)?;
        let answer = match turn.strip_prefix(prompt.as_slice()) {
            Some(answer) => answer.to_vec(),
            None => self.tokenizer.encode_continuation(&self.text[prompt_bytes..turn_bytes])?,
        };
        Ok((prompt, answer))
    }

    /// The ids of the first bytes.
    fn beginning(&self, bytes: usize) -> Result<Vec<u32>, Error> {
        if bytes == self.text.len() {
            return Ok(self.ids.clone());
        }
        match self.behind_added(bytes)? {
            Some(ids) => Ok(ids),
            None => self.tokenizer.encode(&self.text[..bytes]),
        }
    }

    /// As [`EncodedText::beginning`], by the last added token in it; `None` where that is not sure.
    fn behind_added(&self, bytes: usize) -> Result<Option<Vec<u32>>, Error> {
        let inside = self.added.partition_point(|&index| self.places[index].1 <= bytes);
        let Some(last) = inside.checked_sub(1).map(|index| self.added[index]) else { return Ok(None) };
        // An added token that is cut there could have been another one.
        if self.added.get(inside).is_some_and(|&next| self.places[next].0 < bytes) {
            return Ok(None);
        }
        let Some(tail) = self.text.get(self.places[last].1..bytes) else { return Ok(None) };
        let Some(tail) = self.tokenizer.encode_after(self.ids[last], tail)? else { return Ok(None) };
        Ok(Some([&self.ids[..=last], &tail].concat()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    fn tiny() -> Tokenizer {
        Tokenizer::open(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny"))
            .expect("the fixture opens")
    }

    proptest! {
        /// Every beginning has the ids that it has alone.
        #[test]
        fn beginnings_are_encoded_as_they_are_alone(
            text in "([a-z]{1,4}| |\n|\n\n|7|<\\|im_end\\|>|<\\|im_start\\|>|<\\|im|\\|>|assistant|\\PC){0,24}",
        ) {
            let tokenizer = tiny();
            let encoded = EncodedText::new(&tokenizer, &text).expect("it encodes");
            prop_assert_eq!(encoded.len(), tokenizer.encode(&text).expect("it encodes").len());
            for bytes in (0..=text.len()).filter(|&bytes| text.is_char_boundary(bytes)) {
                let alone = tokenizer.encode(&text[..bytes]).expect("it encodes");
                prop_assert_eq!(encoded.beginning(bytes).expect("it encodes"), alone, "{} bytes", bytes);
            }
        }
    }
}
