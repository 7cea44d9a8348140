//! What callers ask for and what they get back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hearth_data::{Message, ToolForm};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{Constraint, InferenceError, SamplingParams, text};

/// Most choices of one request: answers to each prompt times prompts. The API's own bound of `n`.
pub const MAX_CHOICES: usize = 128;
/// Most alternatives of a token that a request may ask for; the API's own bound.
pub const MAX_TOP_LOGPROBS: usize = 5;
/// Tokens of an answer when the request does not say. What the context leaves limits it too.
pub const DEFAULT_MAX_TOKENS: usize = 2048;

/// Which weights answer: a base, or a base with an adapter over it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelRef {
    /// Model directory of the base.
    pub base_dir: PathBuf,
    /// PEFT directory of the adapter. Its chat template is used instead of the base's.
    pub adapter_dir: Option<PathBuf>,
}

/// What is to be continued.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A conversation, rendered with the model's own chat template. The answer ends with the model's turn.
    Chat(ChatInput),
    /// A text as it is, after the beginning token if the tokenizer puts one before plain text. The answer ends
    /// with an end token.
    Text(String),
    /// Tokens as they are; as for a text, but nothing is put before them.
    Tokens(Vec<u32>),
}

/// A conversation to answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatInput {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Functions that the model may call, in OpenAI's form. If there are any, marks of calls stand in the answer's
    /// text, also where they are special tokens; [`Generation::tool_form`] tells what to look for.
    pub tools: Vec<Value>,
    /// Leaves out the oldest messages until the rendered conversation has at most this many tokens. The leading
    /// system message and what begins with the last user message stay, even if they are longer.
    pub truncate_tokens: Option<usize>,
}

/// What happens if the context does not hold the prompt and `max_tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The answer may have as many tokens as fit.
    Shorten,
    /// The request is refused.
    Refuse,
}

/// Prompts to continue, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateRequest {
    /// Who answers.
    pub model: ModelRef,
    /// The prompts, at least one.
    pub inputs: Vec<Input>,
    /// Answers to each prompt, from 1. Choice `i * n + j` is the `j`th answer to the `i`th prompt.
    pub n: usize,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// The form that each answer must have.
    pub constraint: Option<Constraint>,
    /// Most tokens of each answer; 0 only with `echo_tokens`. What the context leaves after the prompt limits it too.
    pub max_tokens: usize,
    /// What happens if it does.
    pub overflow: Overflow,
    /// An answer ends before the first of these strings. At most [`crate::MAX_STOP_STRINGS`].
    pub stop: Vec<String>,
    /// Whether an answer goes on after tokens that end it.
    pub ignore_eos: bool,
    /// How many tokens at the end of the prompt stand before each answer; `usize::MAX` is all.
    pub echo_tokens: usize,
    /// Whether tokens come with their log probabilities, and with how many alternatives.
    pub logprobs: Option<usize>,
}

impl GenerateRequest {
    /// One answer to one input, with the defaults of the API.
    pub fn new(model: ModelRef, input: Input) -> Self {
        Self {
            model,
            inputs: vec![input],
            n: 1,
            sampling: SamplingParams::default(),
            constraint: None,
            max_tokens: DEFAULT_MAX_TOKENS,
            overflow: Overflow::Shorten,
            stop: Vec::new(),
            ignore_eos: false,
            echo_tokens: 0,
            logprobs: None,
        }
    }

    /// One answer to a conversation, with the defaults of the API.
    pub fn chat(model: ModelRef, messages: Vec<Message>) -> Self {
        Self::new(model, Input::Chat(ChatInput { messages, ..ChatInput::default() }))
    }

    /// # Errors
    /// [`InferenceError::InvalidParameter`] names the field that is out of its range.
    pub fn check(&self) -> Result<(), InferenceError> {
        let invalid =
            |field: &'static str, message: String| Err(InferenceError::InvalidParameter { field, message });
        self.sampling.check()?;
        text::check_stops(&self.stop)?;
        if self.n == 0 || self.n > MAX_CHOICES {
            return invalid("n", format!("must be from 1 to {MAX_CHOICES}, not {}", self.n));
        }
        if self.inputs.is_empty() {
            return invalid("prompt", "must hold at least one prompt".to_owned());
        }
        if self.inputs.len() > MAX_CHOICES / self.n {
            let message =
                format!("and n ask for {} choices, the limit is {MAX_CHOICES}", self.inputs.len() * self.n);
            return invalid("prompt", message);
        }
        if let Some(top) = self.logprobs.filter(|&top| top > MAX_TOP_LOGPROBS) {
            return invalid("top_logprobs", format!("must be from 0 to {MAX_TOP_LOGPROBS}, not {top}"));
        }
        if self.ignore_eos && self.constraint.is_some() {
            return invalid(
                "ignore_eos",
                "does not go with an answer of a given form, which ends".to_owned(),
            );
        }
        if self.max_tokens == 0 && self.echo_tokens == 0 {
            return invalid("max_tokens", "must be at least 1, or 0 together with echo".to_owned());
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

/// Tokens that an answer used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
    /// Tokens that the model produced, its end-of-turn token included.
    pub completion_tokens: usize,
}

/// When things happened, from the arrival of the request on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The answer joined the batch.
    pub joined: Duration,
    /// Its first token was chosen, or its prompt was done if it has none.
    pub first_token: Duration,
    /// It ended.
    pub ended: Duration,
}

/// A token of an answer or of an echoed prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Whether some of its text can be in the answer's: false for tokens that end it, and for those of a stop string.
    pub is_shown: bool,
    /// What was asked for by [`GenerateRequest::logprobs`].
    pub score: Option<TokenScore>,
}

/// What the model thought of a token: log probabilities of its own distribution, before biases, penalties,
/// temperature and cuts.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenScore {
    /// What the token stands for; may be a part of a character.
    pub bytes: Vec<u8>,
    /// Characters of the answer's text, echo included, before the token.
    pub text_offset: usize,
    /// Of the token. 0 for the first token of a prompt, to which the model gives no probability.
    pub logprob: f32,
    /// Logarithm of the probability with which the token was drawn: that of all [`SamplingParams`]. Tokens of the
    /// prompt were not drawn.
    pub sampling_logprob: Option<f32>,
    /// The most likely tokens at its place, the most likely first.
    pub top: Vec<Alternative>,
}

/// A token that could have come.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// Its id.
    pub id: u32,
    /// What it stands for.
    pub bytes: Vec<u8>,
    /// Its log probability.
    pub logprob: f32,
}

/// A piece of a generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More of a choice.
    Piece(Piece),
    /// The end of a choice; nothing of it follows.
    Finish(Finish),
}

/// More of a choice: text, tokens, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Which choice.
    pub choice: usize,
    /// Whether this is the echoed prompt. It comes before everything else of its choice.
    pub is_prompt: bool,
    /// May be empty if there are tokens; never holds a part of a character.
    pub text: String,
    /// Tokens with which the text came, and those before them that had no text yet. All of a choice, put together,
    /// are all its tokens.
    pub tokens: Vec<Token>,
}

/// How a choice ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finish {
    /// Which choice.
    pub choice: usize,
    /// Why.
    pub reason: FinishReason,
    /// What it took.
    pub usage: Usage,
    /// When.
    pub times: Times,
}

/// A prompt as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptTokens {
    /// Its tokens.
    pub ids: Arc<[u32]>,
    /// Their text, special tokens included.
    pub text: String,
}

/// Answers in the making. Dropping it stops the generation.
pub struct Generation {
    pub(crate) events: mpsc::Receiver<Result<Event, InferenceError>>,
    pub(crate) prompts: Vec<PromptTokens>,
    pub(crate) choices: usize,
    pub(crate) ended: usize,
    pub(crate) tool_form: Option<ToolForm>,
}

impl Generation {
    /// The next piece; `None` when all choices ended. A generation that breaks off ends with an error.
    pub async fn next(&mut self) -> Option<Result<Event, InferenceError>> {
        if self.ended == self.choices {
            return None;
        }
        let event = self.events.recv().await.unwrap_or(Err(InferenceError::ShuttingDown));
        match &event {
            Ok(Event::Piece(_)) => {}
            Ok(Event::Finish(_)) => self.ended += 1,
            Err(_) => self.ended = self.choices,
        }
        Some(event)
    }

    /// The prompts, one for each input.
    pub fn prompts(&self) -> &[PromptTokens] {
        &self.prompts
    }

    /// How the model calls tools; `None` if it is shown none.
    pub fn tool_form(&self) -> Option<ToolForm> {
        self.tool_form
    }

    /// How many choices there are.
    pub fn choices(&self) -> usize {
        self.choices
    }

    /// Tokens of all prompts.
    pub fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(|prompt| prompt.ids.len()).sum()
    }
}
