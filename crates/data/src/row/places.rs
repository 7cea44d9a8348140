//! Where the parts of a conversation stand in the row as it was written, which other spellings put elsewhere.

use serde::{Deserialize, Serialize};

/// A part of a row that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its tools.
    Tools,
    /// The message of this number, from 0.
    Message(usize),
    /// A call of a message: the number of the message, and that of the call among its calls.
    Call(usize, usize),
}

/// Where the parts stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Key of the tools.
    pub(super) tools: &'static str,
    /// Key of the list of messages.
    pub(super) messages: &'static str,
    /// The first message stands beside the list, in `system`.
    pub(super) has_system_beside: bool,
    /// Messages, by their number in the list, whose calls stand under another key than `tool_calls`, as one value.
    pub(super) calls: Vec<(usize, &'static str)>,
}

impl Default for Places {
    fn default() -> Self {
        Places { tools: "tools", messages: "messages", has_system_beside: false, calls: Vec::new() }
    }
}

impl Places {
    /// The JSON pointer of a part.
    pub(super) fn pointer(&self, part: Part) -> String {
        match part {
            Part::Whole => String::new(),
            Part::Tools => format!("/{}", self.tools),
            Part::Message(0) if self.has_system_beside => "/system".to_owned(),
            Part::Message(message) => format!("/{}/{}", self.messages, self.in_list(message)),
            Part::Call(message, call) => {
                let at = self.in_list(message);
                let key = self.calls.binary_search_by_key(&at, |&(index, _)| index);
                match key {
                    Ok(found) => format!("/{}/{at}/{}", self.messages, self.calls[found].1),
                    Err(_) => format!("/{}/{at}/tool_calls/{call}", self.messages),
                }
            }
        }
    }

    fn in_list(&self, message: usize) -> usize {
        message - usize::from(self.has_system_beside)
    }
}
