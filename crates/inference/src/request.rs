//! What callers ask for and what they get back.

use std::path::PathBuf;

use hearth_data::Message;
use tokio::sync::mpsc;

use crate::{InferenceError, SamplingParams, text};

/// Which weights answer: a base, or a base with an adapter over it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelRef {
    /// Model directory of the base.
    pub base_dir: PathBuf,
    /// PEFT directory of the adapter. Its chat template is used instead of the base's.
    pub adapter_dir: Option<PathBuf>,
}

/// One conversation to continue.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    /// Who answers.
    pub model: ModelRef,
    /// The conversation so far, rendered with the model's own chat template.
    pub messages: Vec<Message>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Most tokens of the answer, from 1. What the context leaves after the prompt limits it too.
    pub max_tokens: usize,
    /// The answer ends before the first of these strings. At most [`crate::MAX_STOP_STRINGS`].
    pub stop: Vec<String>,
}

impl GenerateRequest {
    /// # Errors
    /// [`InferenceError::InvalidParameter`] names the field that is out of its range.
    pub fn check(&self) -> Result<(), InferenceError> {
        self.sampling.check()?;
        text::check_stops(&self.stop)?;
        if self.max_tokens == 0 {
            return Err(InferenceError::InvalidParameter {
                field: "max_tokens",
                message: "must be at least 1".to_owned(),
            });
        }
        Ok(())
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn, or a stop string was found.
    Stop,
    /// `max_tokens` or the context was used up.
    Length,
}

impl FinishReason {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Tokens that a request used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the rendered conversation.
    pub prompt_tokens: usize,
    /// Tokens that the model produced, its end-of-turn token included.
    pub completion_tokens: usize,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// More text, never empty, never a part of a character.
    Text(String),
    /// The end; nothing follows.
    Finish {
        /// Why.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
    },
}

/// An answer in the making. Dropping it stops the generation.
pub struct Generation {
    pub(crate) events: mpsc::Receiver<Result<Event, InferenceError>>,
    pub(crate) prompt_tokens: usize,
}

impl Generation {
    /// The next piece; `None` after the last. A generation that breaks off ends with an error.
    pub async fn next(&mut self) -> Option<Result<Event, InferenceError>> {
        self.events.recv().await
    }

    /// Tokens of the rendered conversation.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }
}
