//! What a template does not write of the messages that the model should be shown.
//!
//! A template that has no place for a system message, a tool's answer or a call leaves it out without a word. A model that
//! is trained so answers as if nobody had said it, and so it will in serving.

use std::borrow::Cow;

use memchr::memmem;
use serde_json::{Map, Value};

use super::turns::{Fault, Text, thoughts_and_answer};
use crate::finding::Code;
use crate::row::{Message, Part, Role};

/// Shortest text that is looked for, in bytes: shorter ones are found by chance.
const SHORTEST: usize = 3;
/// How often as much as the whole prompt is searched for what does not stand in the order of the messages; then no more is
/// looked for.
const SEARCHES_MAX: usize = 64;
const FIX: &str = "use a base or a template that writes it, or remove it from the row";

/// What is not in the prompt of the text's last turn, or, of that turn's calls, behind the prompt. That the turn's answer and
/// the names of its calls are there is seen before.
pub(super) fn left_out(messages: &[Message], text: &Text) -> Vec<Fault> {
    let Some(last) = text.turns.last() else { return Vec::new() };
    let (prompt, learnt) = text.full.split_at(last.prompt_bytes);
    let (mut prompt, mut learnt) = (Written::new(prompt), Written::new(learnt));
    let mut faults = Vec::new();
    let mut say = |part: Part, what: &str| {
        let message = format!("the chat template does not write {what}, so the model does not see it");
        faults.push(Fault::new(part, Code::LeftOut, message, FIX));
    };
    for (index, message) in messages[..last.index].iter().enumerate() {
        let (what, content) = match message.role {
            Role::System => ("the system message as it stands in the row", message.content.trim()),
            Role::User => ("the message of the user as it stands in the row", message.content.trim()),
            Role::Tool => ("the answer of the tool as it stands in the row", message.content.trim()),
            // Earlier thoughts may be left out: so the model will be asked.
            Role::Assistant => ("the answer as it stands in the row", thoughts_and_answer(message).1),
        };
        if !prompt.has(content) {
            say(Part::Message(index), what);
        }
        for (call, called) in message.tool_calls.iter().enumerate() {
            let part = Part::Call(index, call);
            if !prompt.has(&called.name) {
                say(part, "the call of the tool");
            } else if !prompt.has_members(&called.arguments) {
                say(part, "the arguments of the call");
            }
        }
    }
    for (call, called) in messages[last.index].tool_calls.iter().enumerate() {
        if !learnt.has_members(&called.arguments) {
            say(Part::Call(last.index, call), "the arguments of the call");
        }
    }
    faults
}

/// A text that is searched from where the last thing was found: most templates write messages in their order.
struct Written<'a> {
    text: &'a [u8],
    from: usize,
    searches_left: usize,
}

impl<'a> Written<'a> {
    fn new(text: &'a str) -> Self {
        Written { text: text.as_bytes(), from: 0, searches_left: SEARCHES_MAX }
    }

    /// Whether the text stands there: as it is, or as JSON, in which some templates put answers and arguments.
    fn has(&mut self, text: &str) -> bool {
        if text.len() < SHORTEST || self.searches_left == 0 {
            return true;
        }
        self.find(text.as_bytes()) || {
            let once = escaped(text);
            *once != *text && (self.find(once.as_bytes()) || self.find(escaped(&once).as_bytes()))
        }
    }

    /// Whether all texts and names in a value stand there.
    fn has_all(&mut self, value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
            Value::String(text) => self.has(text.trim()),
            Value::Array(items) => items.iter().all(|item| self.has_all(item)),
            Value::Object(members) => self.has_members(members),
        }
    }

    fn has_members(&mut self, members: &Map<String, Value>) -> bool {
        members.iter().all(|(name, member)| self.has(name) && self.has_all(member))
    }

    fn find(&mut self, text: &[u8]) -> bool {
        if let Some(at) = memmem::find(&self.text[self.from..], text) {
            self.from += at;
            return true;
        }
        self.searches_left = self.searches_left.saturating_sub(1);
        // It may begin before that place and end behind it.
        memmem::find(self.text, text).is_some()
    }
}

/// A text as it stands between the quotes of its JSON.
fn escaped(text: &str) -> Cow<'_, str> {
    match serde_json::to_string(text) {
        Ok(json) => json[1..json.len() - 1].to_owned().into(),
        Err(_) => text.into(),
    }
}
