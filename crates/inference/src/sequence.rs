//! One choice while it is in the batch: its tokens, its cache, its text.

use std::sync::Arc;
use std::time::Instant;

use hearth_data::{StreamDecoder, ToolForm};
use hearth_kernels::Cpu;
use hearth_model::{DecodeSeq, KvCache};
use tokio::sync::mpsc;

use crate::constraint::Guide;
use crate::models::Model;
use crate::prompt::Prompted;
use crate::request::{Alternative, Token, TokenScore};
use crate::sample::{Drawn, Sampler, Score};
use crate::transcript::{Offsets, Shown, Transcript};
use crate::{Event, Finish, FinishReason, InferenceError, Piece, SamplingParams, Times, Usage};

/// The sending half of a [`crate::Generation`]. Its channel has room for every event of all sequences, so
/// sending never waits and a slow reader never holds up the batch.
pub(crate) type Events = mpsc::Sender<Result<Event, InferenceError>>;

/// Most events of a sequence beside one for each token of its answer: the echo, the rest of the text, the end.
pub(crate) const EVENTS_BESIDE_TOKENS: usize = 3;

/// Whether a sequence stays in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Running,
    Done,
}

/// What all choices of a request have in common.
pub(crate) struct Options {
    pub(crate) sampling: SamplingParams,
    pub(crate) stop: Vec<String>,
    pub(crate) ignore_eos: bool,
    pub(crate) echo_tokens: usize,
    pub(crate) logprobs: Option<usize>,
    /// The way through the request's constraint, from its beginning.
    pub(crate) guide: Option<Guide>,
    /// Form of the calls whose marks stand in the text.
    pub(crate) tool_form: Option<ToolForm>,
    /// When the request came.
    pub(crate) arrived: Instant,
}

/// A prompt with what fits after it.
pub(crate) struct Task {
    pub(crate) prompt: Prompted,
    /// Most tokens of each answer to it.
    pub(crate) max_tokens: usize,
    /// Bytes of the cache of one answer.
    pub(crate) cache_bytes: usize,
}

/// A sequence. `tokens[..fed]` are in the cache; the rest is fed next: first the prompt, then each new token.
pub(crate) struct Sequence {
    pub(crate) model: Model,
    choice: usize,
    task: Arc<Task>,
    options: Arc<Options>,
    cache: KvCache<Cpu>,
    tokens: Vec<u32>,
    fed: usize,
    sampler: Sampler,
    guide: Option<Guide>,
    transcript: Transcript,
    /// Scores of the prompt's tokens from `scored_from` on.
    prompt_scores: Vec<Score>,
    /// First token of the prompt that is scored.
    scored_from: usize,
    times: Times,
    events: Events,
}

impl Sequence {
    /// The prompt has at least one token; `cache` has room for it and the answer.
    pub(crate) fn new(
        model: Model,
        cache: KvCache<Cpu>,
        choice: usize,
        task: Arc<Task>,
        options: Arc<Options>,
        events: Events,
    ) -> Self {
        let prompt = &task.prompt;
        assert!(!prompt.ids.is_empty(), "checked when the request came in");
        let echoed = prompt.echoed(options.echo_tokens);
        // Nothing goes before the first token that could tell its probability.
        let scored_from = if options.logprobs.is_some() { echoed.start.max(1) } else { prompt.ids.len() };
        Self {
            choice,
            tokens: prompt.ids.clone(),
            fed: 0,
            sampler: Sampler::new(options.sampling.clone(), choice, &prompt.ids),
            guide: options.guide.clone(),
            transcript: Transcript::new(StreamDecoder::new(), Vec::new(), 0),
            prompt_scores: Vec::new(),
            scored_from: scored_from.min(prompt.ids.len()),
            times: Times { joined: options.arrived.elapsed(), ..Times::default() },
            model,
            cache,
            task,
            options,
            events,
        }
    }

    fn prompt_len(&self) -> usize {
        self.task.prompt.ids.len()
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
        DecodeSeq { cache: &mut self.cache, tokens, lora: self.model.lora(), logits }
    }

    /// The tokens that follow each of the next `n`, if the log probability of one of them is wanted.
    pub(crate) fn scored_next(&self, n: usize) -> Option<Vec<Option<u32>>> {
        let after = self.fed + 1..self.fed + n + 1;
        let is_scored = |at: &usize| (self.scored_from..self.prompt_len()).contains(at);
        let next: Vec<Option<u32>> = after.map(|at| is_scored(&at).then(|| self.tokens[at])).collect();
        next.iter().any(Option::is_some).then_some(next)
    }

    /// Alternatives that are wanted of each token.
    pub(crate) fn top_logprobs(&self) -> usize {
        self.options.logprobs.unwrap_or(0)
    }

    /// Takes the scores that belong to [`Sequence::scored_next`].
    pub(crate) fn take_scores(&mut self, scores: Vec<Score>) {
        self.prompt_scores.extend(scores);
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

    /// Whether the sequence ends before a model is needed: nothing but an echo is wanted.
    pub(crate) fn is_only_echo(&self) -> bool {
        self.task.max_tokens == 0 && self.scored_from == self.prompt_len()
    }

    /// Chooses the next token from the logits after the last one, and sends the text that it completes.
    pub(crate) fn advance(&mut self, logits: &[f32]) -> Progress {
        self.progress(Some(logits))
    }

    /// The end of one that [is only an echo](Self::is_only_echo).
    pub(crate) fn finish_echo(&mut self) -> Progress {
        self.progress(None)
    }

    fn progress(&mut self, logits: Option<&[f32]>) -> Progress {
        match self.try_advance(logits) {
            Ok(None) => Progress::Running,
            Ok(Some(reason)) => {
                self.times.ended = self.options.arrived.elapsed();
                let usage =
                    Usage { prompt_tokens: self.prompt_len(), completion_tokens: self.completion_len() };
                let finish = Finish { choice: self.choice, reason, usage, times: self.times };
                self.send(Ok(Event::Finish(finish)));
                Progress::Done
            }
            Err(error) => self.fail(error),
        }
    }

    fn try_advance(&mut self, logits: Option<&[f32]>) -> Result<Option<FinishReason>, InferenceError> {
        if self.completion_len() == 0 {
            self.begin()?;
        }
        let (Some(logits), true) = (logits, self.task.max_tokens > 0) else {
            return Ok(Some(FinishReason::Length));
        };
        let allowed = match &mut self.guide {
            None => None,
            Some(guide) => Some(guide.allowed(&self.task.prompt.stop_ids)?),
        };
        let drawn = self.sampler.next(logits, allowed.as_ref())?;
        let token = self.token(drawn, logits)?;
        self.tokens.push(drawn.id);
        let model = self.model.clone();
        let tokenizer = model.prompter.tokenizer();
        if !self.options.ignore_eos && self.task.prompt.stop_ids.contains(&drawn.id) {
            let rest = self.transcript.finish(tokenizer, Some(token))?;
            self.send_shown(rest);
            return Ok(Some(FinishReason::Stop));
        }
        let shown = self.transcript.push(tokenizer, token)?;
        if self.send_shown(shown) {
            return Ok(Some(FinishReason::Stop));
        }
        // Nothing may follow: the end token need not be waited for.
        let is_complete = match &mut self.guide {
            None => false,
            Some(guide) => guide.take(drawn.id)?,
        };
        if is_complete {
            let rest = self.transcript.finish(tokenizer, None)?;
            self.send_shown(rest);
            return Ok(Some(FinishReason::Stop));
        }
        if self.completion_len() < self.task.max_tokens {
            return Ok(None);
        }
        let rest = self.transcript.finish(tokenizer, None)?;
        let stopped = self.send_shown(rest);
        Ok(Some(if stopped { FinishReason::Stop } else { FinishReason::Length }))
    }

    /// The prompt is done: sends its echo.
    fn begin(&mut self) -> Result<(), InferenceError> {
        self.times.first_token = self.options.arrived.elapsed();
        let range = self.task.prompt.echoed(self.options.echo_tokens);
        let (mut text, mut tokens) = (String::new(), Vec::new());
        if !range.is_empty() {
            let model = self.model.clone();
            let tokenizer = model.prompter.tokenizer();
            text = self.task.prompt.text(tokenizer, range.clone())?;
            let mut scores = std::mem::take(&mut self.prompt_scores).into_iter();
            let mut offsets = Offsets::new(&text);
            for at in range {
                let id = self.tokens[at];
                let bytes = model.prompter.bytes_of(id);
                let text_offset = offsets.next(&bytes);
                let score = self.options.logprobs.map(|_| {
                    let score = if at < self.scored_from { None } else { scores.next() };
                    let score = score.unwrap_or(Score { logprob: 0.0, top: Vec::new() });
                    self.shown_score(score, bytes, text_offset, None)
                });
                tokens.push(Token { id, is_shown: true, score });
            }
        }
        let decoder = self.model.prompter.decoder(self.options.tool_form);
        self.transcript = Transcript::new(decoder, self.options.stop.clone(), text.chars().count());
        if !tokens.is_empty() {
            self.send(Ok(Event::Piece(Piece { choice: self.choice, is_prompt: true, text, tokens })));
        }
        Ok(())
    }

    fn token(&self, drawn: Drawn, logits: &[f32]) -> Result<Token, InferenceError> {
        let Some(top) = self.options.logprobs else {
            return Ok(Token { id: drawn.id, is_shown: true, score: None });
        };
        let score = Score::of(logits, drawn.id, top)?;
        let bytes = self.model.prompter.bytes_of(drawn.id);
        let score = self.shown_score(score, bytes, self.transcript.offset(), Some(drawn.logprob));
        Ok(Token { id: drawn.id, is_shown: true, score: Some(score) })
    }

    fn shown_score(
        &self,
        score: Score,
        bytes: Vec<u8>,
        text_offset: usize,
        sampling_logprob: Option<f32>,
    ) -> TokenScore {
        let alternative =
            |(id, logprob)| Alternative { id, bytes: self.model.prompter.bytes_of(id), logprob };
        let top = score.top.into_iter().map(alternative).collect();
        TokenScore { bytes, text_offset, logprob: score.logprob, sampling_logprob, top }
    }

    fn completion_len(&self) -> usize {
        self.tokens.len() - self.prompt_len()
    }

    /// Whether it ended at a stop string.
    fn send_shown(&self, shown: Shown) -> bool {
        let Shown { text, tokens, stopped } = shown;
        if !text.is_empty() || !tokens.is_empty() {
            self.send(Ok(Event::Piece(Piece { choice: self.choice, is_prompt: false, text, tokens })));
        }
        stopped
    }

    fn send(&self, event: Result<Event, InferenceError>) {
        // The channel has room for every event; it is closed when nobody reads, which the next step notices.
        let _ = self.events.try_send(event);
    }
}
