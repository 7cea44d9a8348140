//! What makes two rows the same: what is trained, not how it is written or what stands beside it.

use std::hash::{DefaultHasher, Hasher};

use serde_json::Value;

use super::script::{Letters, Script};
use crate::row::{Conversation, Message, Role, Row, RowContent};

/// Letters from which on rows that differ in case, white space and punctuation alone are nearly the same: short ones, of
/// formulas, are about the signs.
pub(super) const NEAR_LETTERS_MIN: usize = 24;
/// Letters from which on a question is one that has one answer.
const QUESTION_LETTERS_MIN: usize = 12;
/// Bytes of small letters that are kept before they are hashed.
const NEAR_BYTES: usize = 64 << 10;

/// Hashes of a row. They are the same within one run of the program only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Of letters, in small, and digits, or as `exact` where these are few.
    pub(super) near: u64,
    /// Of all that is trained or shown, and how much it counts.
    pub(super) exact: u64,
    /// Of what comes before the last trained answer, if that is a question.
    pub(super) question: Option<u64>,
}

/// Takes rows and gives their hashes; keeps its buffer.
#[derive(Default)]
pub(super) struct Identifier {
    near: Vec<u8>,
    near_hash: DefaultHasher,
    letters: Letters,
    count: usize,
}

impl Identifier {
    /// The row's hashes and its script.
    pub(super) fn identify(&mut self, row: &Row) -> (Identity, Option<Script>) {
        self.near.clear();
        self.near_hash = DefaultHasher::new();
        self.letters = Letters::default();
        self.count = 0;
        let mut exact = DefaultHasher::new();
        let mut question = None;
        match &row.content {
            RowContent::Chat(conversation) => self.conversation(conversation, &mut exact, &mut question),
            RowContent::Completion { prompt, completion } => {
                self.text(prompt, &mut exact);
                question = self.question(&exact);
                self.text(completion, &mut exact);
            }
        }
        // Behind the question, which is the same one however much its answer counts.
        exact.write_u32(row.weight.unwrap_or(1.0).to_bits());
        let exact = exact.finish();
        self.hash_near();
        let near = if self.count >= NEAR_LETTERS_MIN { self.near_hash.finish() } else { exact };
        (Identity { near, exact, question }, self.letters.script())
    }

    fn conversation(
        &mut self,
        conversation: &Conversation,
        exact: &mut DefaultHasher,
        question: &mut Option<u64>,
    ) {
        for tool in &conversation.tools {
            self.value(tool, exact);
        }
        let last = conversation.messages.iter().rposition(Message::is_trained);
        // What follows the last trained answer is not used.
        let used = last.map_or(conversation.messages.len(), |last| last + 1);
        for (index, message) in conversation.messages[..used].iter().enumerate() {
            if Some(index) == last {
                *question = self.question(exact);
            }
            let speaker = match message.role {
                Role::System => 1,
                Role::User => 2,
                Role::Assistant => 3 + u8::from(message.trained),
                Role::Tool => 5,
            };
            exact.write_u8(speaker);
            self.near.push(speaker);
            self.text(&message.content, exact);
            if let Some(reasoning) = &message.reasoning_content {
                exact.write_u8(20);
                self.text(reasoning, exact);
            }
            // Names and ids are signs, not texts.
            for (number, sign) in (21..).zip([&message.name, &message.tool_call_id]) {
                if let Some(sign) = sign {
                    exact.write_u8(number);
                    exact_text(sign, exact);
                }
            }
            exact.write_usize(message.tool_calls.len());
            for call in &message.tool_calls {
                exact_text(&call.id, exact);
                self.text(&call.name, exact);
                exact.write_usize(call.arguments.len());
                call.arguments.iter().for_each(|(key, value)| {
                    self.text(key, exact);
                    self.value(value, exact);
                });
            }
        }
    }

    /// The hash of what was taken so far, if it is enough for a question.
    fn question(&self, exact: &DefaultHasher) -> Option<u64> {
        (self.count >= QUESTION_LETTERS_MIN).then(|| exact.finish())
    }

    fn text(&mut self, text: &str, exact: &mut DefaultHasher) {
        exact_text(text, exact);
        let mut has_any = false;
        if text.is_ascii() {
            for part in text.as_bytes().chunks(NEAR_BYTES) {
                let start = self.near.len();
                let kept = part.iter().filter(|byte| counts_in_ascii(**byte));
                self.near.extend(kept.map(u8::to_ascii_lowercase));
                let letters = self.near[start..].iter().filter(|byte| byte.is_ascii_alphabetic()).count();
                self.letters.add_latin(letters);
                self.count += letters;
                has_any |= self.near.len() > start;
                self.hash_near_if_much();
            }
        } else {
            for character in text.chars().filter(|character| counts(*character)) {
                if character.is_alphabetic() {
                    self.count += 1;
                    self.letters.add(character);
                }
                let mut utf8 = [0; 4];
                for small in character.to_lowercase() {
                    self.near.extend_from_slice(small.encode_utf8(&mut utf8).as_bytes());
                }
                has_any = true;
                self.hash_near_if_much();
            }
        }
        if !has_any {
            // A text of such signs alone is about them.
            for part in text.trim().as_bytes().chunks(NEAR_BYTES) {
                self.near.extend_from_slice(part);
                self.hash_near_if_much();
            }
        }
        self.near.push(0xff);
    }

    fn hash_near_if_much(&mut self) {
        if self.near.len() > NEAR_BYTES {
            self.hash_near();
        }
    }

    fn hash_near(&mut self) {
        self.near_hash.write(&self.near);
        self.near.clear();
    }

    fn value(&mut self, value: &Value, exact: &mut DefaultHasher) {
        match value {
            Value::Null => exact.write_u8(10),
            Value::Bool(truth) => exact.write_u8(11 + u8::from(*truth)),
            Value::Number(number) => {
                exact.write_u8(13);
                let text = number.to_string();
                exact_text(&text, exact);
                self.near.extend_from_slice(text.as_bytes());
                self.near.push(0xff);
            }
            Value::String(text) => self.text(text, exact),
            Value::Array(items) => {
                exact.write_u8(14);
                items.iter().for_each(|item| self.value(item, exact));
                exact.write_u8(15);
            }
            Value::Object(members) => {
                exact.write_u8(16);
                for (key, value) in members {
                    self.text(key, exact);
                    self.value(value, exact);
                }
                exact.write_u8(17);
            }
        }
    }
}

/// With its length, so that two texts are not one that is divided elsewhere.
fn exact_text(text: &str, exact: &mut DefaultHasher) {
    exact.write_usize(text.len());
    exact.write(text.as_bytes());
}

/// Whether a character counts where rows are nearly the same: letters, digits and symbols, but not white space and
/// punctuation.
fn counts(character: char) -> bool {
    match u8::try_from(character) {
        Ok(byte) if byte.is_ascii() => counts_in_ascii(byte),
        _ => {
            character.is_alphanumeric()
                || !(character.is_whitespace() || character.is_control() || is_punctuation(character))
        }
    }
}

fn counts_in_ascii(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+<>=%$*/^|~&@#".contains(&byte)
}

/// Blocks of punctuation, and what chooses the form of the character before.
fn is_punctuation(character: char) -> bool {
    matches!(character, '\u{a1}'..='\u{bf}' | '\u{2000}'..='\u{206f}' | '\u{3000}'..='\u{303f}' | '\u{fe00}'..='\u{fe1f}'
        | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}')
}
