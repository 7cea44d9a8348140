//! Rendering in a process of its own: what it reads and what it says, as JSON.
//!
//! The process limits its memory and time, and may end at any moment: it holds nothing but one request. The template
//! is compiled there too, since compiling computes constants. Tokenising stays outside: the text goes into
//! [`Renderer::prompt_from_text`](crate::Renderer::prompt_from_text), so the ids are those that rendering in one
//! process gives.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ChatTemplate;
use super::turns::{Fault, Turns};
use crate::error::Error;
use crate::row::{Conversation, Message};
use crate::tokenizer::SpecialTokens;

/// Longest request, in bytes of JSON: room for the longest chat request with every byte escaped.
pub const MAX_REQUEST_BYTES: usize = 64 << 20;
/// Longest reply, in bytes of JSON: many times the longest context. What texts have in common is in it once.
pub const MAX_REPLY_BYTES: usize = 8 << 20;

/// A conversation and the template for it.
#[derive(Debug, Serialize, Deserialize)]
pub struct RenderRequest {
    template: String,
    special_tokens: SpecialTokens,
    messages: Vec<Message>,
    tools: Vec<Value>,
    /// Whether the conversation is trained on, and not answered.
    for_training: bool,
}

/// What came of a [`RenderRequest`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenderReply {
    /// The texts.
    Rendered {
        /// The conversation with the opening of an assistant turn.
        prompt: String,
        /// What follows the prompt for a short answer: the end-of-turn token stands there.
        answer: String,
    },
    /// What training samples are made of.
    Turns {
        /// The conversation.
        turns: Turns,
        /// As in [`RenderReply::Rendered`].
        answer: String,
    },
    /// The row cannot be trained on with this template.
    Fault {
        /// Why.
        fault: Fault,
    },
    /// The template is not usable, or refused this conversation; as [`Error::Template`].
    Error {
        /// What is wrong.
        message: String,
        /// Line of the template, from 1.
        line: Option<usize>,
    },
}

impl RenderRequest {
    /// A request to render `messages` and `tools` with the template of this source.
    pub fn new(
        template: &str,
        special_tokens: &SpecialTokens,
        messages: &[Message],
        tools: &[Value],
    ) -> Self {
        Self {
            template: template.to_owned(),
            special_tokens: special_tokens.clone(),
            messages: messages.to_vec(),
            tools: tools.to_vec(),
            for_training: false,
        }
    }

    /// A request for what training samples of a conversation are made of; the reply is [`RenderReply::Turns`] or
    /// [`RenderReply::Fault`].
    pub fn for_training(template: &str, special_tokens: &SpecialTokens, conversation: &Conversation) -> Self {
        let Conversation { messages, tools } = conversation;
        Self { for_training: true, ..Self::new(template, special_tokens, messages, tools) }
    }

    /// Renders in this process.
    pub fn render(&self) -> RenderReply {
        match ChatTemplate::compile(&self.template, &self.special_tokens) {
            Ok(template) => self.render_with(&template),
            Err(error) => reply(Err(error)),
        }
    }

    /// As [`RenderRequest::render`], with the template compiled already.
    pub fn render_with(&self, template: &ChatTemplate) -> RenderReply {
        reply(self.try_render(template))
    }

    fn try_render(&self, template: &ChatTemplate) -> Result<RenderReply, Error> {
        if self.for_training {
            let conversation = Conversation { messages: self.messages.clone(), tools: self.tools.clone() };
            return Ok(match template.turns(&conversation) {
                Ok(turns) => RenderReply::Turns { turns, answer: template.short_answer()? },
                Err(fault) => RenderReply::Fault { fault },
            });
        }
        let prompt = template.render(&self.messages, &self.tools, true)?;
        Ok(RenderReply::Rendered { prompt, answer: template.short_answer()? })
    }
}

fn reply(rendered: Result<RenderReply, Error>) -> RenderReply {
    match rendered {
        Ok(reply) => reply,
        Err(Error::Template { message, line }) => RenderReply::Error { message, line },
        Err(error) => RenderReply::Error { message: error.to_string(), line: None },
    }
}
