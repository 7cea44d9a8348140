//! What of a sequence can be shown: whole characters before a stop string, each with its tokens.

use std::collections::VecDeque;

use hearth_data::{StreamDecoder, Tokenizer};

use crate::InferenceError;
use crate::request::Token;
use crate::text::StopMatcher;

/// Text and tokens that can be given out.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    /// A stop string was found: nothing follows.
    pub(crate) stopped: bool,
}

/// The text of an answer while it grows. Offsets are in characters, the echo included.
pub(crate) struct Transcript {
    decoder: StreamDecoder,
    stops: StopMatcher,
    /// Characters that were decoded.
    decoded: usize,
    /// Characters that were given out.
    shown: usize,
    /// Tokens that were not given out, with the offset at which their text begins.
    held: VecDeque<(usize, Token)>,
}

impl Transcript {
    /// Begins after an echo of `echoed` characters.
    pub(crate) fn new(decoder: StreamDecoder, stops: Vec<String>, echoed: usize) -> Self {
        Self {
            decoder,
            stops: StopMatcher::new(stops),
            decoded: echoed,
            shown: echoed,
            held: VecDeque::new(),
        }
    }

    /// Where the text of the next token begins.
    pub(crate) fn offset(&self) -> usize {
        self.decoded
    }

    /// Adds a token; gives what can be shown with it, which may be nothing.
    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, token: Token) -> Result<Shown, InferenceError> {
        let start = self.decoded;
        let piece = self.decoder.push(tokenizer, token.id).map_err(InferenceError::Decode)?;
        self.held.push_back((start, token));
        self.decoded += piece.chars().count();
        let (text, stopped) = self.stops.push(&piece);
        Ok(self.show(text, stopped, stopped))
    }

    /// The rest, without the bytes of an unfinished character, and the token that ended the text, if one did.
    pub(crate) fn finish(
        &mut self,
        tokenizer: &Tokenizer,
        end: Option<Token>,
    ) -> Result<Shown, InferenceError> {
        let rest = self.decoder.finish(tokenizer).map_err(InferenceError::Decode)?;
        let rest = rest.trim_end_matches(char::REPLACEMENT_CHARACTER);
        self.decoded += rest.chars().count();
        let (mut text, stopped) = self.stops.push(rest);
        if !stopped {
            text.push_str(&self.stops.finish());
        }
        let mut shown = self.show(text, stopped, true);
        shown.tokens.extend(end.map(|token| Token { is_shown: false, ..token }));
        Ok(shown)
    }

    /// Lets tokens go whose text begins before what is given out ends; all of them at the end of the text.
    fn show(&mut self, text: String, stopped: bool, ends: bool) -> Shown {
        self.shown += text.chars().count();
        let mut tokens = Vec::new();
        while let Some((start, token)) = self.held.pop_front_if(|(start, _)| ends || *start < self.shown) {
            let is_shown = !stopped || start < self.shown;
            tokens.push(Token { is_shown, ..token });
        }
        Shown { text, tokens, stopped }
    }
}

/// Where the tokens of a text begin, in characters.
pub(crate) struct Offsets {
    /// Characters that are whole.
    chars: usize,
    /// Bytes of one that is not.
    tail: Vec<u8>,
    /// 1 if the first token has a space that the text does not.
    skipped: usize,
    is_first: bool,
    starts_with_space: bool,
}

impl Offsets {
    /// For the tokens of `text`, from its beginning.
    pub(crate) fn new(text: &str) -> Self {
        Self {
            chars: 0,
            tail: Vec::new(),
            skipped: 0,
            is_first: true,
            starts_with_space: text.starts_with(' '),
        }
    }

    /// The beginning of the next token, whose bytes these are.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> usize {
        let at = self.chars.saturating_sub(self.skipped);
        if std::mem::take(&mut self.is_first) {
            self.skipped = usize::from(bytes.first() == Some(&b' ') && !self.starts_with_space);
        }
        self.tail.extend_from_slice(bytes);
        let mut left = 0;
        for chunk in self.tail.utf8_chunks() {
            self.chars += chunk.valid().chars().count();
            left = chunk.invalid().len();
            // What is invalid becomes one sign, unless more bytes may come.
            self.chars += usize::from(left > 0);
        }
        let is_unfinished = std::str::from_utf8(&self.tail[self.tail.len() - left..])
            .is_err_and(|error| error.error_len().is_none());
        self.chars -= usize::from(is_unfinished);
        let keep = if is_unfinished { left } else { 0 };
        self.tail.drain(..self.tail.len() - keep);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_begin_where_their_characters_do() {
        let check = |text: &str, tokens: &[&[u8]], expect: &[usize]| {
            let mut offsets = Offsets::new(text);
            let got: Vec<usize> = tokens.iter().map(|bytes| offsets.next(bytes)).collect();
            assert_eq!(got, expect, "{text:?} {tokens:?}");
        };
        check("ab cd", &[b"ab", b" c", b"d"], &[0, 2, 4]);
        check("ab cd", &[b" ab", b" c", b"d"], &[0, 2, 4]);
        check(" ab", &[b" ab", b"x"], &[0, 3]);
        check("\u{e9}\u{1f600}x", &[b"\xc3", b"\xa9\xf0\x9f", b"\x98\x80", b"x"], &[0, 0, 1, 2]);
        check("\u{fffd}x", &[b"\xff", b"x", b""], &[0, 1, 2]);
    }
}
