//! From an input to the tokens that the model is given.

use std::ops::Range;

use hearth_data::{Message, Role, Tokenizer, ToolForm};

use crate::InferenceError;
use crate::models::Model;
use crate::render::{Prompt, RenderProcesses};
use crate::request::{ChatInput, Input};

/// A prompt of a request.
pub(crate) struct Prompted {
    pub(crate) ids: Vec<u32>,
    /// Ids that end the answer.
    pub(crate) stop_ids: Vec<u32>,
    /// Tokens at the front that were not in the input. An echo leaves them out.
    pub(crate) added: usize,
}

impl Prompted {
    /// Renders and tokenises. Blocks while another process renders.
    pub(crate) fn read(
        input: &Input,
        model: &Model,
        processes: &RenderProcesses,
    ) -> Result<Self, InferenceError> {
        let tokenizer = model.prompter.tokenizer();
        let vocab_size = model.base.decoder.config().vocab_size;
        let prompted = match input {
            Input::Chat(chat) => {
                let Prompt { ids, stop_ids } = chat_prompt(chat, model, processes)?;
                Self { ids, stop_ids, added: 0 }
            }
            Input::Text(text) => {
                let added = usize::from(tokenizer.bos_to_add().is_some());
                let ids =
                    model.prompter.renderer().completion_prompt(text).map_err(InferenceError::Encode)?;
                Self { ids, stop_ids: tokenizer.eos_ids().to_vec(), added }
            }
            Input::Tokens(ids) => {
                if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
                    let message = format!("holds token {id}, but the model's vocabulary has {vocab_size}");
                    return Err(InferenceError::InvalidParameter { field: "prompt", message });
                }
                Self { ids: ids.clone(), stop_ids: tokenizer.eos_ids().to_vec(), added: 0 }
            }
        };
        if prompted.ids.is_empty() {
            let (field, message) = match input {
                Input::Chat(_) => ("messages", "give a prompt without a single token"),
                Input::Text(_) | Input::Tokens(_) => ("prompt", "must have at least one token"),
            };
            return Err(InferenceError::InvalidParameter { field, message: message.to_owned() });
        }
        if let Some(&token) = prompted.ids.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(InferenceError::UnknownToken { token, vocab_size });
        }
        Ok(prompted)
    }

    /// The tokens that an echo of the last `count` shows.
    pub(crate) fn echoed(&self, count: usize) -> Range<usize> {
        let given = self.ids.len() - self.added;
        self.ids.len() - count.min(given)..self.ids.len()
    }

    /// The text of the tokens of `range`, special ones included.
    pub(crate) fn text(&self, tokenizer: &Tokenizer, range: Range<usize>) -> Result<String, InferenceError> {
        let decode = |ids: &[u32]| tokenizer.decode(ids, false).map_err(InferenceError::Decode);
        let first = self.added.min(range.start);
        let before = decode(&self.ids[first..range.start])?;
        let whole = decode(&self.ids[first..range.end])?;
        // A cut inside a character leaves a sign for its bytes on both sides.
        Ok(match whole.strip_prefix(before.trim_end_matches(char::REPLACEMENT_CHARACTER)) {
            Some(text) => text.to_owned(),
            None => decode(&self.ids[range])?,
        })
    }
}

/// Refuses tools and their messages where the template would leave them out.
fn needs_tools(chat: &ChatInput, model: &Model) -> Result<(), InferenceError> {
    let why = match model.prompter.tool_form() {
        None => "its chat template does not show tools".to_owned(),
        Some(ToolForm::NotRead(mark)) => {
            format!("its chat template marks calls by {mark}, which this server does not read")
        }
        Some(_) => return Ok(()),
    };
    let has_tools = |message: &Message| message.role == Role::Tool || !message.tool_calls.is_empty();
    let (field, what) = if !chat.tools.is_empty() {
        ("tools", "cannot be used")
    } else if chat.messages.iter().any(has_tools) {
        ("messages", "hold calls of tools, which cannot be used")
    } else {
        return Ok(());
    };
    let message = format!(
        "{what} with this model: {why}; describe them in a system message and ask for JSON by response_format"
    );
    Err(InferenceError::InvalidParameter { field, message })
}

fn chat_prompt(
    chat: &ChatInput,
    model: &Model,
    processes: &RenderProcesses,
) -> Result<Prompt, InferenceError> {
    needs_tools(chat, model)?;
    let render = |messages: &[Message]| model.prompter.prompt(messages, &chat.tools, processes);
    let whole = render(&chat.messages)?;
    let Some(most) = chat.truncate_tokens.filter(|&most| whole.ids.len() > most) else { return Ok(whole) };
    let system = usize::from(chat.messages.first().is_some_and(|message| message.role == Role::System));
    let starts: Vec<usize> =
        (system + 1..chat.messages.len()).filter(|&i| chat.messages[i].role == Role::User).collect();
    let from = |start: usize| {
        let kept: Vec<Message> =
            chat.messages[..system].iter().chain(&chat.messages[start..]).cloned().collect();
        render(&kept)
    };
    // The first start with which it fits; with the last one it need not. Fewer messages have fewer tokens, so that
    // each half can be left out at once.
    let (mut low, mut high) = (0, starts.len());
    let mut best = None;
    while low < high {
        let middle = (low + high) / 2;
        let prompt = from(starts[middle])?;
        if prompt.ids.len() <= most {
            (best, high) = (Some(prompt), middle);
        } else {
            low = middle + 1;
        }
    }
    match (best, starts.last()) {
        (Some(prompt), _) => Ok(prompt),
        (None, Some(&last)) => from(last),
        (None, None) => Ok(whole),
    }
}
