//! What a dataset is made of, in numbers.

use serde::Serialize;

use crate::pack::{self, BatchSize, Plan};
use crate::row::{Message, Role, Row, RowContent, ToolCall};

/// Shortest context length of the table.
const CONTEXT_LENGTH_FIRST: usize = 512;

/// Least, mean and most of a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Least.
    pub min: u64,
    /// Mean.
    pub mean: f64,
    /// Most.
    pub max: u64,
}

/// Messages of each role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Roles {
    /// Instructions.
    pub system: u64,
    /// Questions.
    pub user: u64,
    /// Answers.
    pub assistant: u64,
    /// Answers of tools.
    pub tool: u64,
}

/// Rows that have something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowsWith {
    /// A system message.
    pub system: u64,
    /// Tools that may be called.
    pub tools: u64,
    /// Calls of tools.
    pub tool_calls: u64,
    /// Reasoning before an answer.
    pub reasoning: u64,
    /// A weight.
    pub weight: u64,
}

/// What good rows are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Bytes of the rows as JSON, unpacked, without line breaks.
    pub bytes: u64,
    /// Good rows.
    pub good_rows: u64,
    /// Messages of a conversation; 0 without conversations.
    pub messages_per_row: Spread,
    /// Messages by who speaks.
    pub messages: Roles,
    /// Rows that have something.
    pub rows_with: RowsWith,
    /// Answers that are learnt.
    pub trained_answers: u64,
    /// Characters of all messages, prompts and completions.
    pub characters: u64,
    /// Characters of what is learnt.
    pub trained_characters: u64,
    #[serde(skip)]
    pub(super) chats: u64,
    #[serde(skip)]
    pub(super) all_messages: u64,
}

impl Statistics {
    pub(super) fn add_row(&mut self, row: &Row) {
        self.good_rows += 1;
        self.rows_with.weight += u64::from(row.weight.is_some());
        match &row.content {
            RowContent::Completion { prompt, completion } => {
                self.trained_answers += 1;
                let learnt = characters(completion);
                self.characters += characters(prompt) + learnt;
                self.trained_characters += learnt;
            }
            RowContent::Chat(conversation) => {
                let messages = &conversation.messages;
                let count = messages.len() as u64;
                let spread = &mut self.messages_per_row;
                spread.min = if self.chats == 0 { count } else { spread.min.min(count) };
                spread.max = spread.max.max(count);
                self.chats += 1;
                self.all_messages += count;
                let any = |test: fn(&Message) -> bool| u64::from(messages.iter().any(test));
                self.rows_with.system += any(|message| message.role == Role::System);
                self.rows_with.tool_calls += any(|message| !message.tool_calls.is_empty());
                self.rows_with.reasoning += any(|message| message.reasoning_content.is_some());
                self.rows_with.tools += u64::from(!conversation.tools.is_empty());
                for message in messages {
                    self.add_message(message);
                }
            }
        }
    }

    fn add_message(&mut self, message: &Message) {
        let count = match message.role {
            Role::System => &mut self.messages.system,
            Role::User => &mut self.messages.user,
            Role::Assistant => &mut self.messages.assistant,
            Role::Tool => &mut self.messages.tool,
        };
        *count += 1;
        let of_calls: u64 = message.tool_calls.iter().map(characters_of_call).sum();
        let text = characters(&message.content)
            + message.reasoning_content.as_deref().map_or(0, characters)
            + of_calls;
        self.characters += text;
        if message.is_trained() {
            self.trained_answers += 1;
            self.trained_characters += text;
        }
    }

    pub(super) fn merge(&mut self, other: &Statistics) {
        self.bytes += other.bytes;
        self.good_rows += other.good_rows;
        let (spread, from) = (&mut self.messages_per_row, &other.messages_per_row);
        if other.chats > 0 {
            spread.min = if self.chats == 0 { from.min } else { spread.min.min(from.min) };
            spread.max = spread.max.max(from.max);
        }
        self.chats += other.chats;
        self.all_messages += other.all_messages;
        self.messages_per_row.mean = self.all_messages as f64 / self.chats.max(1) as f64;
        self.messages.system += other.messages.system;
        self.messages.user += other.messages.user;
        self.messages.assistant += other.messages.assistant;
        self.messages.tool += other.messages.tool;
        self.rows_with.system += other.rows_with.system;
        self.rows_with.tools += other.rows_with.tools;
        self.rows_with.tool_calls += other.rows_with.tool_calls;
        self.rows_with.reasoning += other.rows_with.reasoning;
        self.rows_with.weight += other.rows_with.weight;
        self.trained_answers += other.trained_answers;
        self.characters += other.characters;
        self.trained_characters += other.trained_characters;
    }
}

/// Of the name and the JSON of the arguments.
fn characters_of_call(call: &ToolCall) -> u64 {
    let arguments = serde_json::to_string(&call.arguments).unwrap_or_default();
    characters(&call.name) + characters(&arguments)
}

/// Characters, counted as bytes that begin one.
fn characters(text: &str) -> u64 {
    text.bytes().map(|byte| u64::from((byte as i8) >= -0x40)).sum()
}

/// How samples are packed.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// What closes a batch.
    pub batch_size: BatchSize,
    /// Most tokens of a micro-batch.
    pub micro_batch_tokens: usize,
    /// Seed of the shuffle.
    pub seed: u64,
}

/// Tokens of some rows.
#[derive(Debug, Default)]
pub(super) struct TokenTally {
    /// Of all samples, those that are too long too.
    pub(super) lengths: Vec<u32>,
    pub(super) trained_tokens: u64,
    /// What the samples begin with.
    beginning: Option<Vec<u32>>,
}

impl TokenTally {
    pub(super) fn add_sample(&mut self, tokens: &[u32], trained: usize) {
        self.lengths.push(clamp(tokens.len()));
        self.trained_tokens += trained as u64;
        self.begin_with(tokens);
    }

    pub(super) fn add_too_long(&mut self, length: usize) {
        self.lengths.push(clamp(length));
    }

    fn begin_with(&mut self, tokens: &[u32]) {
        match &mut self.beginning {
            None => self.beginning = Some(tokens.to_vec()),
            Some(beginning) => {
                let same = beginning.iter().zip(tokens).take_while(|(a, b)| a == b).count();
                beginning.truncate(same);
            }
        }
    }

    pub(super) fn merge(&mut self, other: TokenTally) {
        self.lengths.extend_from_slice(&other.lengths);
        self.trained_tokens += other.trained_tokens;
        if let Some(beginning) = other.beginning {
            self.begin_with(&beginning);
        }
    }
}

fn clamp(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Samples of a range of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bin {
    /// Most tokens, a power of two; the bin before has those up to half of it.
    pub up_to_tokens: u64,
    /// Samples.
    pub samples: u64,
}

/// What a context length leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Dropped {
    /// The context length, in tokens.
    pub context_length: usize,
    /// Samples that are longer.
    pub samples: u64,
    /// Their share of all samples, from 0 to 1.
    pub sample_share: f64,
    /// Their share of all tokens, from 0 to 1.
    pub token_share: f64,
}

/// How an epoch is packed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Packed {
    /// Samples of a batch; `None` if tokens close it.
    pub batch_size_samples: Option<usize>,
    /// Tokens of a batch; `None` if samples close it.
    pub batch_size_tokens: Option<usize>,
    /// Optimiser steps of an epoch, one a batch.
    pub steps_per_epoch: u64,
    /// Micro-batches of an epoch.
    pub micro_batches_per_epoch: u64,
    /// Tokens that all samples begin with: computed once in a micro-batch.
    pub shared_tokens: usize,
    /// Share of the room of all micro-batches that is filled, from 0 to 1. Nothing is padded: what is not filled costs
    /// nothing but speed.
    pub efficiency: f64,
}

/// What a dataset is in tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenStatistics {
    /// Longest sample that is trained on.
    pub context_length: usize,
    /// Samples that are trained on.
    pub samples: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Their tokens that are learnt.
    pub trained_tokens: u64,
    /// Samples that are too long and left out.
    pub samples_too_long: u64,
    /// Lengths of all samples at which 1, 10, 50, 90, 99 and 100 % are not longer, in tokens.
    pub percentiles: Vec<(u8, u64)>,
    /// All samples by length.
    pub histogram: Vec<Bin>,
    /// What other context lengths would leave out.
    pub dropped: Vec<Dropped>,
    /// How an epoch is packed; `None` without samples.
    pub packed: Option<Packed>,
}

impl TokenStatistics {
    /// `model_context_length` is the longest of the table.
    pub(super) fn new(
        tally: TokenTally,
        context_length: usize,
        model_context_length: usize,
        batching: &Batching,
    ) -> Self {
        let TokenTally { lengths, trained_tokens, beginning } = tally;
        let kept: Vec<usize> = lengths
            .iter()
            .map(|&length| length as usize)
            .filter(|&length| length <= context_length)
            .collect();
        let (samples, tokens) = (kept.len() as u64, kept.iter().map(|&length| length as u64).sum());
        let samples_too_long = lengths.len() as u64 - samples;
        let shared = beginning.map_or(0, |beginning| beginning.len());
        let packed = (!kept.is_empty()).then(|| packed(kept, shared, batching));
        let mut sorted = lengths;
        sorted.sort_unstable();
        TokenStatistics {
            context_length,
            samples,
            tokens,
            trained_tokens,
            samples_too_long,
            percentiles: percentiles(&sorted),
            histogram: histogram(&sorted),
            dropped: dropped(&sorted, model_context_length),
            packed,
        }
    }
}

fn packed(lengths: Vec<usize>, shared: usize, batching: &Batching) -> Packed {
    // Every sample has a token of its own.
    let least = lengths.iter().min().map_or(0, |least| least.saturating_sub(1));
    let shared_tokens = shared.min(least);
    let settings = pack::Settings {
        shuffle_seed: Some(batching.seed),
        batch_size: batching.batch_size,
        micro_batch_tokens: batching.micro_batch_tokens,
        shared_tokens,
    };
    let packing = Plan::new(lengths, settings).packing(0);
    let (batch_size_samples, batch_size_tokens) = match batching.batch_size {
        BatchSize::Samples(samples) => (Some(samples), None),
        BatchSize::Tokens(tokens) => (None, Some(tokens)),
    };
    Packed {
        batch_size_samples,
        batch_size_tokens,
        steps_per_epoch: packing.batches as u64,
        micro_batches_per_epoch: packing.micro_batches as u64,
        shared_tokens,
        efficiency: packing.rows as f64 / packing.room as f64,
    }
}

fn percentiles(sorted: &[u32]) -> Vec<(u8, u64)> {
    let at = |percent: usize| {
        let index = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(index).map(|&length| (percent as u8, u64::from(length)))
    };
    [1, 10, 50, 90, 99, 100].into_iter().filter_map(at).collect()
}

fn histogram(sorted: &[u32]) -> Vec<Bin> {
    let (Some(&least), Some(&most)) = (sorted.first(), sorted.last()) else { return Vec::new() };
    let mut bins = Vec::new();
    let mut up_to_tokens = u64::from(least).next_power_of_two();
    let mut below = 0;
    loop {
        let up_to = sorted.partition_point(|&length| u64::from(length) <= up_to_tokens);
        bins.push(Bin { up_to_tokens, samples: (up_to - below) as u64 });
        below = up_to;
        if up_to_tokens >= u64::from(most) {
            return bins;
        }
        up_to_tokens *= 2;
    }
}

fn dropped(sorted: &[u32], model_context_length: usize) -> Vec<Dropped> {
    let all: u64 = sorted.iter().map(|&length| u64::from(length)).sum();
    let mut context_lengths: Vec<usize> =
        std::iter::successors(Some(CONTEXT_LENGTH_FIRST), |length| Some(length * 2))
            .take_while(|&length| length < model_context_length)
            .collect();
    context_lengths.push(model_context_length);
    let row = |context_length: usize| {
        let kept = sorted.partition_point(|&length| length as usize <= context_length);
        let samples = (sorted.len() - kept) as u64;
        let tokens: u64 = sorted[kept..].iter().map(|&length| u64::from(length)).sum();
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        Dropped {
            context_length,
            samples,
            sample_share: share(samples, sorted.len() as u64),
            token_share: share(tokens, all),
        }
    };
    context_lengths.into_iter().map(row).collect()
}
