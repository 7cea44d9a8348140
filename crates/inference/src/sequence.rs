//! One conversation while it is in the batch: its tokens, its cache, its text.

use hearth_data::StreamDecoder;
use hearth_kernels::Cpu;
use hearth_model::{DecodeSeq, KvCache};
use tokio::sync::mpsc;

use crate::models::Model;
use crate::render::Prompt;
use crate::sample::Sampler;
use crate::text::StopMatcher;
use crate::{Event, FinishReason, InferenceError, Usage};

/// The sending half of a [`crate::Generation`]. Its channel has room for every event of the sequence, so
/// sending never waits and a slow reader never holds up the batch.
pub(crate) type Events = mpsc::Sender<Result<Event, InferenceError>>;

/// Whether a sequence stays in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Running,
    Done,
}

/// A sequence. `tokens[..fed]` are in the cache; the rest is fed next: first the prompt, then each new token.
pub(crate) struct Sequence {
    pub(crate) model: Model,
    cache: KvCache<Cpu>,
    tokens: Vec<u32>,
    stop_ids: Vec<u32>,
    fed: usize,
    prompt_len: usize,
    max_tokens: usize,
    sampler: Sampler,
    text: StreamDecoder,
    stops: StopMatcher,
    events: Events,
}

impl Sequence {
    /// `prompt` has at least one token; `cache` has room for `prompt.ids.len() + max_tokens` rows.
    pub(crate) fn new(
        model: Model,
        cache: KvCache<Cpu>,
        prompt: Prompt,
        max_tokens: usize,
        sampler: Sampler,
        stops: Vec<String>,
        events: Events,
    ) -> Self {
        assert!(!prompt.ids.is_empty() && max_tokens > 0, "checked when the request came in");
        Self {
            model,
            cache,
            prompt_len: prompt.ids.len(),
            tokens: prompt.ids,
            stop_ids: prompt.stop_ids,
            fed: 0,
            max_tokens,
            sampler,
            text: StreamDecoder::new(),
            stops: StopMatcher::new(stops),
            events,
        }
    }

    /// Tokens that are not in the cache yet: at least one.
    pub(crate) fn pending_len(&self) -> usize {
        self.tokens.len() - self.fed
    }

    /// Hands out the next `n` tokens and the cache for them. At the end of the tokens the logits are wanted, to
    /// choose the next one.
    pub(crate) fn feed(&mut self, n: usize) -> DecodeSeq<'_, Cpu> {
        let logits = n == self.pending_len();
        let tokens = &self.tokens[self.fed..self.fed + n];
        self.fed += n;
        DecodeSeq { cache: &mut self.cache, tokens, lora: self.model.lora.as_deref(), logits }
    }

    /// Whether nobody reads the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Ends the sequence with an error.
    pub(crate) fn fail(&self, error: InferenceError) -> Progress {
        self.send(Err(error));
        Progress::Done
    }

    /// Chooses the next token from the logits after the last one, and sends the text that it completes.
    pub(crate) fn advance(&mut self, logits: &[f32]) -> Progress {
        match self.try_advance(logits) {
            Ok(None) => Progress::Running,
            Ok(Some(reason)) => {
                let completion_tokens = self.completion_len();
                let usage = Usage { prompt_tokens: self.prompt_len, completion_tokens };
                self.send(Ok(Event::Finish { reason, usage }));
                Progress::Done
            }
            Err(error) => self.fail(error),
        }
    }

    fn try_advance(&mut self, logits: &[f32]) -> Result<Option<FinishReason>, InferenceError> {
        let token = self.sampler.next(logits)?;
        self.tokens.push(token);
        if self.stop_ids.contains(&token) {
            self.send_rest()?;
            return Ok(Some(FinishReason::Stop));
        }
        let tokenizer = self.model.prompter.tokenizer();
        let piece = self.text.push(tokenizer, token).map_err(InferenceError::Decode)?;
        let (piece, stopped) = self.stops.push(&piece);
        self.send_text(piece);
        if stopped {
            return Ok(Some(FinishReason::Stop));
        }
        if self.completion_len() < self.max_tokens {
            return Ok(None);
        }
        let stopped = self.send_rest()?;
        Ok(Some(if stopped { FinishReason::Stop } else { FinishReason::Length }))
    }

    fn completion_len(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// Sends what was held back, without the bytes of an unfinished character; whether a stop string ended it.
    fn send_rest(&mut self) -> Result<bool, InferenceError> {
        let rest = self.text.finish(self.model.prompter.tokenizer()).map_err(InferenceError::Decode)?;
        let (mut rest, stopped) = self.stops.push(rest.trim_end_matches(char::REPLACEMENT_CHARACTER));
        if !stopped {
            rest.push_str(&self.stops.finish());
        }
        self.send_text(rest);
        Ok(stopped)
    }

    fn send_text(&self, text: String) {
        if !text.is_empty() {
            self.send(Ok(Event::Text(text)));
        }
    }

    fn send(&self, event: Result<Event, InferenceError>) {
        // The channel has room for every event; it is closed when nobody reads, which the next step notices.
        let _ = self.events.try_send(event);
    }
}
