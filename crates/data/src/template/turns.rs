//! What a template writes for a conversation that is trained on: one text, and where the trained turns end in it.
//!
//! This is all that a sample needs of a template, so a stranger's template can write it in a process of its own
//! ([`super::process`]) and the sample is the one that the trainer makes.

use serde::{Deserialize, Serialize};

use super::ChatTemplate;
use crate::error::Error;
use crate::row::{Message, Role};

/// Why a turn cannot be told.
pub(crate) const UNSTABLE: &str = "the chat template writes the conversation up to this turn differently when more follows, so \
    the trained tokens cannot be told; split the row so that this turn is the last, or change the template";
const FIRST: &str = "the chat template has no prompt for an answer to nothing; put a system or user message before it, \
    or give it weight 0";

/// A conversation's text and its trained turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turns {
    /// The whole conversation.
    pub(crate) full: String,
    /// How many turns are trained.
    pub(crate) trained: usize,
    /// Trained turns, first to last, up to the first that cannot be told.
    pub(crate) turns: Vec<Turn>,
    /// What is wrong with that one.
    pub(crate) fault: Option<Fault>,
}

/// A trained turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// Its message.
    pub(crate) index: usize,
    /// Bytes of the text that are the serving prompt before it.
    pub(crate) prompt_bytes: usize,
    /// Bytes of the text up to its end; not fewer.
    pub(crate) turn_bytes: usize,
}

/// A row's fault, before its line is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) pointer: String,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Fault { pointer: pointer.into(), message: message.into() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::new("", error.to_string())
    }
}

/// Whether a message is learnt.
pub(crate) fn is_trained(message: &Message) -> bool {
    message.role == Role::Assistant && message.trained
}

impl Turns {
    /// Whether what another process sent can be one: bytes are counted within the text and between characters.
    pub fn is_sound(&self) -> bool {
        self.turns.iter().all(|turn| {
            turn.prompt_bytes <= turn.turn_bytes
                && self.full.is_char_boundary(turn.prompt_bytes)
                && self.full.is_char_boundary(turn.turn_bytes)
        })
    }
}

impl ChatTemplate {
    /// Writes a conversation once whole, and twice up to each trained turn: before it and with it.
    pub(crate) fn turns(&self, messages: &[Message]) -> Result<Turns, Error> {
        let full = self.render(messages, &[], false)?;
        let trained = messages.iter().filter(|message| is_trained(message)).count();
        let mut found = Turns { full, trained, turns: Vec::new(), fault: None };
        for (index, _) in messages.iter().enumerate().filter(|(_, message)| is_trained(message)) {
            match self.turn(messages, index, &found.full) {
                Ok(turn) => found.turns.push(turn),
                Err(fault) => {
                    found.fault = Some(fault);
                    break;
                }
            }
        }
        Ok(found)
    }

    fn turn(&self, messages: &[Message], index: usize, full: &str) -> Result<Turn, Fault> {
        let fault = |message: &str| Fault::new(format!("/messages/{index}"), message);
        let prompt = self.render(&messages[..index], &[], true)?;
        let turn = self.render(&messages[..=index], &[], false)?;
        if index == 0 && !turn.starts_with(&prompt) {
            return Err(fault(FIRST));
        }
        if !full.starts_with(&turn) || !turn.starts_with(&prompt) {
            return Err(fault(UNSTABLE));
        }
        Ok(Turn { index, prompt_bytes: prompt.len(), turn_bytes: turn.len() })
    }
}
