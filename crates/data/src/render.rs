//! From a row to a training sample, and from a conversation to a serving prompt.
//!
//! The mask comes from prefixes, since no template marks its trained text reliably: an assistant turn's trained
//! text begins where the serving prompt before it ends, and goes up to and including its end-of-turn token.
//! So the model learns exactly what it will be asked to continue, and to stop.

mod encoded;
mod pieces;

use std::path::Path;

use encoded::EncodedText;
pub use pieces::Piece;

use serde_json::Value;

use crate::error::Error;
use crate::finding::{Code, Finding};
use crate::row::{Message, Part, Row, RowContent};
use crate::template::turns::{Fault, Turn, Turns};
use crate::template::{self, ChatTemplate};
use crate::tokenizer::Tokenizer;

const NO_END: (&str, &str) = (
    "the chat template writes no end-of-turn token after this turn, so the model would not learn to stop",
    "use a template that writes the eos_token there",
);
/// One training sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Line of the row, from 1.
    pub line: u64,
    /// Token ids, never cut.
    pub tokens: Vec<u32>,
    /// `weights[i]` is the loss weight of predicting `tokens[i]` from the tokens before it: 0 or that of the row.
    /// `weights[0]` is 0. As long as `tokens`.
    pub weights: Vec<f32>,
}

impl Sample {
    /// Number of tokens with a weight above 0; at least 1.
    pub fn trained_tokens(&self) -> usize {
        self.weights.iter().filter(|weight| **weight > 0.0).count()
    }
}

/// What becomes of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// What is trained on, in the order of the row. Most rows make one; a row whose template leaves out earlier reasoning
    /// makes several.
    pub samples: Vec<Sample>,
    /// Tokens of the samples that are longer than the limit and left out.
    pub too_long: Vec<usize>,
    /// What the chat template does not write of the row, which is no reason to refuse it.
    pub left_out: Vec<Finding>,
}

/// Tokenizer and chat template of one model.
pub struct Renderer {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    stop_ids: Vec<u32>,
}

impl Renderer {
    /// Opens a model directory. `template_override` replaces the directory's chat template. A directory without
    /// a template can still train completion rows.
    pub fn open(model_dir: &Path, template_override: Option<&str>) -> Result<Self, Error> {
        Self::open_over(model_dir, model_dir, template_override)
    }

    /// As [`Renderer::open`], for an adapter's directory over that of its base; see [`Tokenizer::open_over`].
    pub fn open_over(
        model_dir: &Path,
        base_dir: &Path,
        template_override: Option<&str>,
    ) -> Result<Self, Error> {
        let tokenizer = Tokenizer::open_over(model_dir, base_dir)?;
        let source = match template_override {
            Some(source) => Some(source.to_owned()),
            None => template::source_of(model_dir)?,
        };
        let template =
            source.map(|source| ChatTemplate::compile(&source, tokenizer.special_tokens())).transpose()?;
        Self::new(tokenizer, template)
    }

    /// A renderer of its parts. Renders a short conversation once, to learn the end-of-turn token and to refuse
    /// a template that does not work at all.
    pub fn new(tokenizer: Tokenizer, template: Option<ChatTemplate>) -> Result<Self, Error> {
        let answer = template.as_ref().map(ChatTemplate::short_answer).transpose()?;
        let stop_ids = stop_ids(&tokenizer, &answer.unwrap_or_default())?;
        Ok(Renderer { tokenizer, template, stop_ids })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template, if the model has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Fixes the time that a template's `strftime_now` tells; see [`ChatTemplate::set_now_ms`].
    pub fn set_now_ms(&mut self, now_ms: i64) {
        if let Some(template) = &mut self.template {
            template.set_now_ms(now_ms);
        }
    }

    /// Ids at which generation stops: the end tokens, and what the template writes at the end of a turn.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// The ids that the model is given to answer `messages`, with `tools` that it may call.
    pub fn prompt(&self, messages: &[Message], tools: &[Value]) -> Result<Vec<u32>, Error> {
        self.prompt_from_text(&self.chat_template()?.render(messages, tools, true)?)
    }

    /// As [`Renderer::prompt`], with the template's variable `enable_thinking` set to false.
    pub fn prompt_without_thoughts(&self, messages: &[Message], tools: &[Value]) -> Result<Vec<u32>, Error> {
        self.prompt_from_text(&self.chat_template()?.render_thinking(messages, tools, true, Some(false))?)
    }

    /// The ids that the model is given to go on with a text that is no conversation. The beginning token is added only to
    /// a text that has none.
    pub fn completion_prompt(&self, text: &str) -> Result<Vec<u32>, Error> {
        let ids = self.tokenizer.encode(text)?;
        let to_add = self.tokenizer.bos_to_add().filter(|bos| ids.first() != Some(bos));
        Ok(to_add.into_iter().chain(ids).collect())
    }

    /// As [`Renderer::prompt`], from the text that the template gives; see [`template::process`].
    pub fn prompt_from_text(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.tokenizer.encode(text)
    }

    /// As [`Renderer::stop_ids`], from what the template writes for a short answer; see [`template::process`].
    pub fn stop_ids_from_text(&self, answer: &str) -> Result<Vec<u32>, Error> {
        stop_ids(&self.tokenizer, answer)
    }

    /// The training samples of a row; those of more than `max_tokens` tokens are left out. The error names the row's
    /// line. A long conversation that is left out is spared the work of finding its trained tokens.
    pub fn render(&self, row: &Row, max_tokens: usize) -> Result<Rendered, Finding> {
        let rendered = match &row.content {
            RowContent::Chat(conversation) => self
                .chat_template()
                .map_err(Fault::from)
                .and_then(|template| template.turns(conversation))
                .and_then(|turns| self.samples(row, &turns, &self.stop_ids, max_tokens)),
            RowContent::Completion { prompt, completion } => {
                self.completion(prompt, completion).and_then(|spans| {
                    let mut rendered = Rendered::default();
                    rendered.push(sample_of(row, spans)?, max_tokens);
                    Ok(rendered)
                })
            }
        };
        rendered.map_err(|fault| fault.at(row))
    }

    /// As [`Renderer::render`] for a conversation, from what its template writes and the ids at which that template's
    /// turns end; see [`template::process`].
    pub fn render_turns(
        &self,
        row: &Row,
        turns: &Turns,
        stop_ids: &[u32],
        max_tokens: usize,
    ) -> Result<Rendered, Finding> {
        self.samples(row, turns, stop_ids, max_tokens).map_err(|fault| fault.at(row))
    }

    fn samples(
        &self,
        row: &Row,
        turns: &Turns,
        stop_ids: &[u32],
        max_tokens: usize,
    ) -> Result<Rendered, Fault> {
        let left_out = turns.left_out.iter().map(|fault| fault.clone().at(row)).collect();
        let mut rendered = Rendered { left_out, ..Rendered::default() };
        for text in &turns.texts {
            let encoded = EncodedText::new(&self.tokenizer, &text.full)?;
            if text.turns.len() > 1 && encoded.len() > max_tokens {
                rendered.too_long.push(encoded.len());
                continue;
            }
            let mut turns = text.turns.as_slice();
            while !turns.is_empty() {
                let (spans, placed) = self.spans(&encoded, turns, stop_ids)?;
                rendered.push(sample_of(row, spans)?, max_tokens);
                turns = &turns[placed..];
            }
        }
        Ok(rendered)
    }

    fn chat_template(&self) -> Result<&ChatTemplate, Error> {
        self.template.as_ref().ok_or_else(|| Error::Template {
            message: "the model has none; give one, or use prompt and completion rows".into(),
            line: None,
        })
    }

    fn completion(&self, prompt: &str, completion: &str) -> Result<Vec<Span>, Fault> {
        let Some(eos) = self.tokenizer.eos_id() else {
            let what = "the tokenizer has no eos_token, which must end a completion";
            return Err(Fault::new(
                Part::Whole,
                Code::NoEndOfTurn,
                what,
                "use another base, or rows with messages",
            ));
        };
        let mut learnt = match prompt.is_empty() {
            true => self.tokenizer.encode(completion)?,
            false => self.tokenizer.encode_continuation(completion)?,
        };
        let begins = prompt.is_empty() && learnt.first().copied() == self.tokenizer.bos_to_add();
        let given = if begins { Vec::new() } else { self.completion_prompt(prompt)? };
        // Texts that were written with a template have these tokens already.
        if learnt.last() != Some(&eos) {
            learnt.push(eos);
        }
        Ok(vec![Span { tokens: given, trained: false }, Span { tokens: learnt, trained: true }])
    }

    /// Builds the ids turn by turn, so that those before each trained answer are the ids of its serving prompt. Also says
    /// how many turns were placed, at least one: an answer that begins with white space can be one token with the text
    /// before it as soon as more follows, and the turn behind it then needs a sample of its own.
    fn spans(
        &self,
        text: &EncodedText<'_>,
        turns: &[Turn],
        stop_ids: &[u32],
    ) -> Result<(Vec<Span>, usize), Fault> {
        let mut spans: Vec<Span> = Vec::new();
        let mut done: Vec<u32> = Vec::new();
        let mut rest: Vec<u32> = Vec::new();
        let mut placed = 0;
        for turn in turns {
            let (prompt, mut answer) = text.turn(turn.prompt_bytes, turn.turn_bytes)?;
            let Some(before) = prompt.strip_prefix(done.as_slice()) else { break };
            let Some(answer_len) = self.answer_len(&answer, stop_ids)? else {
                return Err(Fault::at_message(turn.index, Code::NoEndOfTurn, NO_END.0, NO_END.1));
            };
            rest = answer.split_off(answer_len);
            spans.push(Span { tokens: before.to_vec(), trained: false });
            done = [prompt.as_slice(), &answer].concat();
            spans.push(Span { tokens: answer, trained: true });
            placed += 1;
        }
        spans.push(Span { tokens: rest, trained: false });
        Ok((spans, placed))
    }

    /// How many of a turn's tokens are its answer with the end-of-turn token, after which only white space and further
    /// such tokens may follow; `None` if there is no such token.
    fn answer_len(&self, turn: &[u32], stop_ids: &[u32]) -> Result<Option<usize>, Error> {
        let end = first_behind_text(&self.tokenizer, turn, |id| stop_ids.contains(&id))?;
        Ok(end.map(|end| end + 1))
    }
}

/// The tokenizer's end tokens, and the first added token behind the text of a short answer.
fn stop_ids(tokenizer: &Tokenizer, answer: &str) -> Result<Vec<u32>, Error> {
    let mut stop_ids = tokenizer.eos_ids().to_vec();
    let turn = tokenizer.encode(answer)?;
    if let Some(end) = first_behind_text(tokenizer, &turn, |id| tokenizer.is_added(id))?
        && !stop_ids.contains(&turn[end])
    {
        stop_ids.push(turn[end]);
    }
    Ok(stop_ids)
}

/// Where the first of those tokens stands behind which there are only such, each another one, and white space. The same
/// token twice is once the text's.
fn first_behind_text(
    tokenizer: &Tokenizer,
    ids: &[u32],
    is_such: impl Fn(u32) -> bool,
) -> Result<Option<usize>, Error> {
    let (mut first, mut end) = (None, ids.len());
    while let Some(at) = ids[..end].iter().rposition(|&id| is_such(id)) {
        let is_there_twice = first.is_some_and(|first: usize| ids[first..].contains(&ids[at]));
        if is_there_twice || !tokenizer.decode(&ids[at + 1..end], false)?.trim().is_empty() {
            break;
        }
        (first, end) = (Some(at), at);
    }
    Ok(first)
}

fn sample_of(row: &Row, spans: Vec<Span>) -> Result<Sample, Fault> {
    let (mut tokens, mut weights) = (Vec::new(), Vec::new());
    let row_weight = row.weight.unwrap_or(1.0);
    for span in spans {
        weights.resize(weights.len() + span.tokens.len(), if span.trained { row_weight } else { 0.0 });
        tokens.extend(span.tokens);
    }
    if let Some(first) = weights.first_mut() {
        *first = 0.0;
    }
    let sample = Sample { line: row.line, tokens, weights };
    if sample.trained_tokens() == 0 {
        let what = "the row has no token to train";
        return Err(Fault::new(Part::Whole, Code::NothingToTrain, what, "add an answer, or remove the row"));
    }
    Ok(sample)
}

impl Rendered {
    fn push(&mut self, sample: Sample, max_tokens: usize) {
        if sample.tokens.len() <= max_tokens {
            self.samples.push(sample);
        } else {
            self.too_long.push(sample.tokens.len());
        }
    }
}

/// Tokens that are trained or not.
struct Span {
    tokens: Vec<u32>,
    trained: bool,
}

#[cfg(test)]
mod tests;
