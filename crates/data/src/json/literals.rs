//! The number literals of a JSON text, which its parser gives as values only.

/// Finds the literals one after the other, in the order of the text.
pub(super) struct Literals<'a> {
    rest: &'a [u8],
    passed: usize,
}

impl<'a> Literals<'a> {
    /// Those of a text that is JSON up to the last one that is asked for.
    pub(super) fn new(text: &'a str) -> Self {
        Literals { rest: text.as_bytes(), passed: 0 }
    }

    /// Whether the literal of this number, from 0, has neither point nor exponent. Numbers are asked for in ascending
    /// order, so that the text is gone through once.
    pub(super) fn is_whole(&mut self, number: usize) -> bool {
        while let Some(literal) = self.pass_number() {
            if self.passed > number {
                return !literal.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
            }
        }
        false
    }

    fn pass_number(&mut self) -> Option<&'a [u8]> {
        loop {
            let start = self.rest.iter().position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'))?;
            self.rest = &self.rest[start..];
            if self.rest[0] == b'"' {
                self.pass_text();
                continue;
            }
            let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
            let len = self.rest.iter().position(|byte| !is_part(byte)).unwrap_or(self.rest.len());
            let (literal, rest) = self.rest.split_at(len);
            self.rest = rest;
            self.passed += 1;
            return Some(literal);
        }
    }

    fn pass_text(&mut self) {
        self.rest = &self.rest[1..];
        while let Some(at) = memchr::memchr2(b'"', b'\\', self.rest) {
            let is_end = self.rest[at] == b'"';
            self.rest = self.rest.get(at + if is_end { 1 } else { 2 }..).unwrap_or_default();
            if is_end {
                return;
            }
        }
        self.rest = &[];
    }
}
