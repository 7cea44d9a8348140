//! The checks of the rows of one block, which need no other row.

use std::collections::{BTreeMap, HashSet};

use super::blocks::Block;
use super::identity::{Identifier, Identity};
use super::script::Script;
use super::statistics::{Statistics, TokenTally};
use super::text::Scanner;
use super::{MAX_LISTED_ERRORS, MAX_LISTED_OF_A_WARNING, Options};
use crate::finding::{BadRow, Code, Finding};
use crate::json::{self, Json, Place};
use crate::read::{Kind, Limits, text_of, too_long};
use crate::row::{Conversation, Message, Part, Role, Row, RowContent, Spelling};

/// What a row says beside what is wrong with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    pub(super) line: u64,
    /// `None` for a row that is bad in itself.
    pub(super) good: Option<Good>,
}

/// Of a good row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Good {
    pub(super) kind: Kind,
    pub(super) identity: Identity,
    pub(super) script: Option<Script>,
}

/// Findings, listed up to a limit and counted.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) listed: Vec<Finding>,
    pub(super) counts: BTreeMap<Code, u64>,
}

impl Found {
    pub(super) fn error(&mut self, finding: Finding) {
        *self.counts.entry(finding.code).or_default() += 1;
        if self.listed.len() < MAX_LISTED_ERRORS {
            self.listed.push(finding);
        }
    }

    /// A finding that is not listed is not made.
    pub(super) fn warning(&mut self, code: Code, finding: impl FnOnce() -> Finding) {
        let count = self.counts.entry(code).or_default();
        *count += 1;
        if *count <= MAX_LISTED_OF_A_WARNING {
            self.listed.push(finding());
        }
    }
}

/// What a block holds.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) block: Block,
    pub(super) notes: Vec<Note>,
    pub(super) errors: Found,
    pub(super) warnings: Found,
    /// The first line that is written so, and how many are.
    pub(super) spellings: BTreeMap<Spelling, (u64, u64)>,
    /// What good rows of a kind are made of. Nearly all files have one kind.
    pub(super) kinds: BTreeMap<Kind, Numbers>,
}

/// What some rows are made of.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) statistics: Statistics,
    pub(super) tokens: TokenTally,
}

/// Checks blocks, one after the other.
pub(super) struct Worker<'a> {
    options: &'a Options<'a>,
    limits: Limits,
    scanner: Scanner,
    identifier: Identifier,
}

impl<'a> Worker<'a> {
    pub(super) fn new(options: &'a Options<'a>, scanner: Scanner) -> Self {
        Worker { options, limits: options.limits, scanner, identifier: Identifier::default() }
    }

    pub(super) fn process(&mut self, block: Block) -> Outcome {
        let mut outcome = Outcome {
            notes: Vec::with_capacity(block.spans.len()),
            errors: Found::default(),
            warnings: Found::default(),
            spellings: BTreeMap::new(),
            kinds: BTreeMap::new(),
            block: Block { bytes: Vec::new(), spans: Vec::new(), end: None, ..block },
        };
        for (line, bytes) in block.lines() {
            let good = match self.row(line, bytes, &mut outcome) {
                Ok(good) => Some(good),
                Err(bad) => {
                    bad.into_findings().into_iter().for_each(|finding| outcome.errors.error(finding));
                    None
                }
            };
            outcome.notes.push(Note { line, good });
        }
        outcome.block = block;
        outcome
    }

    fn row(&mut self, line: u64, bytes: Option<&[u8]>, outcome: &mut Outcome) -> Result<Good, BadRow> {
        let bytes = bytes.ok_or_else(|| too_long(line, self.limits))?;
        let json =
            json::parse(line, text_of(line, bytes)?).map_err(|found| match looks_like_utf_16(bytes) {
                true => {
                    let what = "the line holds NUL bytes, as files in UTF-16 do";
                    BadRow::from(Finding::new(line, "", Code::InvalidJson, what, "save the file as UTF-8"))
                }
                false => BadRow::new(found),
            })?;
        let row = Row::from_json(line, &json)?;
        #[cfg(test)]
        super::tests::panic_at(&row, super::tests::PANICS_IN_A_WORKER);
        let kind = Kind::of(&row);
        let mut tokens = TokenTally::default();
        if let Some(renderer) = self.options.renderer {
            let most = self.options.context_length;
            let rendered = renderer.render(&row, most)?;
            for finding in rendered.left_out {
                outcome.warnings.warning(finding.code, || finding);
            }
            for sample in &rendered.samples {
                tokens.add_sample(&sample.tokens, sample.trained_tokens());
            }
            for &length in &rendered.too_long {
                tokens.add_too_long(length);
                outcome.warnings.warning(Code::TooLong, || {
                    let message = format!(
                        "the row makes {length} tokens, the context has {most}: it is left out of training"
                    );
                    let fix = "divide or shorten it, or train with a longer context";
                    Finding::new(line, "", Code::TooLong, message, fix)
                });
            }
        }
        let numbers = outcome.kinds.entry(kind).or_default();
        numbers.statistics.add_row(&row);
        numbers.tokens.merge(tokens);
        for &spelling in &row.spellings {
            outcome.spellings.entry(spelling).or_insert((line, 0)).1 += 1;
        }
        let mut remarks = Remarks { line, warnings: &mut outcome.warnings };
        remarks.structure(&row, &json);
        remarks.texts(&row, &json, &self.scanner);
        let (identity, script) = self.identifier.identify(&row);
        Ok(Good { kind, identity, script })
    }
}

/// Whether so many bytes are NUL that the text is in UTF-16: half of them where letters are Latin, and of JSON in other
/// scripts still those of its keys. One NUL in UTF-8 is a control character like others.
fn looks_like_utf_16(bytes: &[u8]) -> bool {
    memchr::memchr_iter(0, bytes).count() * 8 > bytes.len()
}

/// Members of a conversation that hold what is trained or shown.
const USED_OF_A_CHAT: [&str; 5] = ["messages", "conversations", "system", "tools", "functions"];
/// Of another row: these, or else `text`.
const USED_OF_A_COMPLETION: [&str; 2] = ["prompt", "completion"];
/// Members that hold names and not texts.
const NAMES: [&str; 6] = ["role", "from", "type", "id", "tool_call_id", "weight"];

struct Remarks<'a> {
    line: u64,
    warnings: &'a mut Found,
}

impl Remarks<'_> {
    fn push(&mut self, pointer: impl FnOnce() -> String, code: Code, message: &str, fix: &str) {
        self.warnings.warning(code, || Finding::new(self.line, pointer(), code, message, fix));
    }

    fn structure(&mut self, row: &Row, json: &Json<'_>) {
        match &row.content {
            RowContent::Completion { completion, .. } => {
                if completion.trim().is_empty() {
                    let key = if json.given("completion").is_some() { "completion" } else { "text" };
                    self.empty_answer(|| format!("/{key}"));
                }
            }
            RowContent::Chat(conversation) => self.conversation(row, conversation),
        }
    }

    fn empty_answer(&mut self, pointer: impl FnOnce() -> String) {
        let what = "an answer that is learnt has no text, so the model learns to say nothing";
        self.push(pointer, Code::EmptyAnswer, what, "write the answer, give it weight 0, or remove the row");
    }

    fn conversation(&mut self, row: &Row, conversation: &Conversation) {
        let messages = &conversation.messages;
        let tools: HashSet<&str> =
            conversation.tools.iter().filter_map(|tool| tool["function"]["name"].as_str()).collect();
        for (index, message) in messages.iter().enumerate() {
            let pointer = || row.pointer(Part::Message(index));
            if message.content.trim().is_empty()
                && message.tool_calls.is_empty()
                && message.role != Role::Tool
            {
                if message.is_trained() {
                    self.empty_answer(pointer);
                } else {
                    let what = match message.role {
                        Role::System => "the message of the system has no text",
                        Role::User => "the message of the user has no text",
                        Role::Assistant => "the message of the assistant has no text",
                        Role::Tool => "the message of the tool has no text",
                    };
                    let fix = "write what is said, or remove the message";
                    self.push(pointer, Code::EmptyMessage, what, fix);
                }
            }
            for (call, called) in message.tool_calls.iter().enumerate() {
                if !tools.contains(called.name.as_str()) {
                    let what =
                        "the called tool is not among the tools of the row, so the model is not shown it";
                    let fix = "add its definition to tools, or correct the name";
                    self.push(|| row.pointer(Part::Call(index, call)), Code::UndefinedTool, what, fix);
                }
            }
        }
        let last = messages.iter().rposition(Message::is_trained);
        if let Some(last) = last
            && messages.last().is_some_and(|message| message.role != Role::Assistant)
        {
            let what = "the row does not end with an answer; what follows the last learnt one is not used";
            let fix = "add the answer, or remove what follows the last one";
            self.push(|| row.pointer(Part::Message(last + 1)), Code::EndsWithoutAnswer, what, fix);
        }
    }

    /// Looks at what is read of the row.
    fn texts(&mut self, row: &Row, json: &Json<'_>, scanner: &Scanner) {
        let Json::Object(members) = json else { return };
        let root = Place::ROOT;
        let used: &[&str] = match &row.content {
            RowContent::Chat(_) => &USED_OF_A_CHAT,
            RowContent::Completion { .. } if json.given("completion").is_some() => &USED_OF_A_COMPLETION,
            RowContent::Completion { .. } => &["text"],
        };
        for (key, value) in members.iter().filter(|(key, _)| used.contains(&&**key)) {
            self.walk(&root.key(key), value, scanner);
        }
    }

    fn walk(&mut self, place: &Place<'_>, value: &Json<'_>, scanner: &Scanner) {
        match value {
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
            Json::String(text) => scanner.scan(text, |(code, message, fix)| {
                self.push(|| place.pointer(), code, &message, fix);
            }),
            Json::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.walk(&place.index(index), item, scanner);
                }
            }
            Json::Object(members) => {
                for (key, value) in members.iter().filter(|(key, _)| !NAMES.contains(&&**key)) {
                    self.walk(&place.key(key), value, scanner);
                }
            }
        }
    }
}
