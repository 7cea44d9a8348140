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

/// Hashes of a row. They are the same within one run of the program only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Of letters, in small, and digits, or as `exact` where these are few.
    pub(super) near: u64,
    /// Of all that is trained or shown.
    pub(super) exact: u64,
    /// Of what comes before the last trained answer, if that is a question.
    pub(super) question: Option<u64>,
}

/// Takes rows and gives their hashes; keeps its buffer.
#[derive(Default)]
pub(super) struct Identifier {
    near: Vec<u8>,
    letters: Letters,
    count: usize,
}

impl Identifier {
    /// The row's hashes and its script.
    pub(super) fn identify(&mut self, row: &Row) -> (Identity, Option<Script>) {
        self.near.clear();
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
        let exact = exact.finish();
        let near = match self.count >= NEAR_LETTERS_MIN {
            true => {
                let mut near = DefaultHasher::new();
                near.write(&self.near);
                near.finish()
            }
            false => exact,
        };
        // What a very long row took is given back.
        self.near.shrink_to(1 << 20);
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
                self.text(reasoning, exact);
            }
            for call in &message.tool_calls {
                exact.write(call.id.as_bytes());
                self.text(&call.name, exact);
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
        exact.write(text.as_bytes());
        exact.write_u8(0xff);
        let start = self.near.len();
        if text.is_ascii() {
            let kept = text.bytes().filter(u8::is_ascii_alphanumeric);
            self.near.extend(kept.map(|byte| byte.to_ascii_lowercase()));
            let letters = self.near[start..].iter().filter(|byte| byte.is_ascii_alphabetic()).count();
            self.letters.add_latin(letters);
            self.count += letters;
        } else {
            for character in text.chars().filter(|character| character.is_alphanumeric()) {
                if character.is_alphabetic() {
                    self.count += 1;
                    self.letters.add(character);
                }
                let mut utf8 = [0; 4];
                for small in character.to_lowercase() {
                    self.near.extend_from_slice(small.encode_utf8(&mut utf8).as_bytes());
                }
            }
        }
        self.near.push(0xff);
    }

    fn value(&mut self, value: &Value, exact: &mut DefaultHasher) {
        match value {
            Value::Null => exact.write_u8(10),
            Value::Bool(truth) => exact.write_u8(11 + u8::from(*truth)),
            Value::Number(number) => {
                exact.write_u8(13);
                let bits = number.as_f64().unwrap_or_default().to_bits();
                exact.write_u64(bits);
                self.near.extend_from_slice(&bits.to_le_bytes());
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
