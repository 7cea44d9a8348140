//! What a template writes for a conversation that is trained on: texts, and where the trained turns end in them.
//!
//! This is all that samples need of a template, so a stranger's template can write it in a process of its own
//! ([`super::process`]) and the samples are those that the trainer makes.
//!
//! # The rule
//! A turn is trained in the text that the template writes when that turn is the last one, behind the prompt that the
//! model is given to answer there. So what is learnt is what serving asks for, whatever the template does with turns that
//! lie further back. Turns whose texts are the beginnings of one another share a text; most templates write one text for a
//! whole conversation. Those that leave out the reasoning of earlier turns write several. What stands behind the last
//! trained turn is not used.

use serde::{Deserialize, Serialize};

use super::{ChatTemplate, shown};
use crate::error::Error;
use crate::finding::{Code, Finding};
use crate::row::{Conversation, Message, Part, Role, Row};

/// Most bytes of all texts of a row: as many as the longest line, twice.
pub const MAX_TEXT_BYTES: usize = 64 << 20;
/// Most bytes that are written for a row: a text before and with each answer, of which all but the longest are only compared.
const MAX_WRITTEN_BYTES: usize = 1 << 30;
/// How a prompt ends that makes the model think.
const THINK: &str = "<think>\n";
/// What stands between the thoughts and the answer.
const END_THINK: &str = "\n</think>\n\n";

/// A conversation's texts and its trained turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Sent", try_from = "Sent")]
pub struct Turns {
    /// The texts, in the order of their turns; each has at least one turn.
    pub(crate) texts: Vec<Text>,
    /// How many turns are trained.
    pub(crate) trained: usize,
    /// What stands before the last of them and is in no text, though the row has it.
    pub(crate) left_out: Vec<Fault>,
}

/// A text and the trained turns in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// The conversation up to the last of the turns.
    pub(crate) full: String,
    /// First to last.
    pub(crate) turns: Vec<Turn>,
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

/// [`Turns`] as JSON. Texts begin with most of the one before, which is not sent again.
#[derive(Serialize, Deserialize)]
struct Sent {
    texts: Vec<SentText>,
    trained: usize,
    left_out: Vec<Fault>,
}

#[derive(Serialize, Deserialize)]
struct SentText {
    /// Bytes that are those of the text before.
    shared: usize,
    rest: String,
    turns: Vec<Turn>,
}

impl From<Turns> for Sent {
    fn from(turns: Turns) -> Self {
        let mut before = String::new();
        let mut send = |Text { full, turns }: Text| {
            let same = full.bytes().zip(before.bytes()).take_while(|(a, b)| a == b).count();
            let shared = full.floor_char_boundary(same);
            let rest = full[shared..].to_owned();
            before = full;
            SentText { shared, rest, turns }
        };
        let texts = turns.texts.into_iter().map(&mut send).collect();
        Sent { texts, trained: turns.trained, left_out: turns.left_out }
    }
}

impl TryFrom<Sent> for Turns {
    type Error = &'static str;

    fn try_from(sent: Sent) -> Result<Self, Self::Error> {
        let (mut texts, mut bytes) = (Vec::<Text>::with_capacity(sent.texts.len()), 0);
        for text in sent.texts {
            let before = texts.last().map_or("", |text| text.full.as_str());
            let shared = before.get(..text.shared).ok_or("a text does not begin with the one before")?;
            bytes += shared.len() + text.rest.len();
            if bytes > MAX_TEXT_BYTES {
                return Err("the texts are too long");
            }
            texts.push(Text { full: format!("{shared}{}", text.rest), turns: text.turns });
        }
        Ok(Turns { texts, trained: sent.trained, left_out: sent.left_out })
    }
}

/// What is wrong with a row, before its line is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub(crate) part: Part,
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) fix: String,
}

impl Fault {
    pub(crate) fn new(part: Part, code: Code, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Fault { part, code, message: message.into(), fix: fix.into() }
    }

    /// At a message.
    pub(crate) fn at_message(index: usize, code: Code, message: &str, fix: &str) -> Self {
        Self::new(Part::Message(index), code, message, fix)
    }

    /// As what is wrong with this row.
    pub fn at(self, row: &Row) -> Finding {
        Finding::new(row.line, row.pointer(self.part), self.code, self.message, self.fix)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::new(Part::Whole, Code::Template, error.to_string(), "change the row or the chat template")
    }
}

impl Turns {
    /// Whether what another process sent can be one: bytes are counted within the text and between characters.
    pub fn is_sound(&self) -> bool {
        self.texts.iter().all(|text| {
            let is_place = |bytes| text.full.is_char_boundary(bytes);
            !text.turns.is_empty()
                && text.turns.iter().all(|turn| {
                    turn.prompt_bytes <= turn.turn_bytes
                        && is_place(turn.prompt_bytes)
                        && is_place(turn.turn_bytes)
                })
        })
    }
}

impl ChatTemplate {
    /// Writes a conversation twice up to each trained turn: before it and with it.
    pub(crate) fn turns(&self, conversation: &Conversation) -> Result<Turns, Fault> {
        let messages = &conversation.messages;
        let trained: Vec<usize> = (0..messages.len()).filter(|&index| messages[index].is_trained()).collect();
        let mut found = Turns { texts: Vec::new(), trained: trained.len(), left_out: Vec::new() };
        let (mut bytes, mut written) = (0, 0);
        // From the last one on, since a text holds those before its end.
        for &index in trained.iter().rev() {
            let (mut turn, text) = self.turn(conversation, index)?;
            written += turn.prompt_bytes + text.len();
            if written > MAX_WRITTEN_BYTES {
                let message = format!(
                    "the row is too long for its {} learnt answers: all that stands before each would be more than {} GiB",
                    trained.len(),
                    MAX_WRITTEN_BYTES >> 30
                );
                return Err(Fault::new(Part::Whole, Code::Template, message, "divide the row"));
            }
            let last = found.texts.last_mut();
            if let Some(last) = &last
                && !last.full.starts_with(&text)
                && let Some(bytes) = self.without_end(&text, &turn, &messages[index])
                && last.full.starts_with(&text[..bytes])
            {
                turn.turn_bytes = bytes;
            }
            match last {
                Some(last) if last.full.starts_with(&text[..turn.turn_bytes]) => last.turns.push(turn),
                _ => {
                    bytes += text.len();
                    if bytes > MAX_TEXT_BYTES {
                        let message = format!(
                            "the chat template writes {} texts for the row's answers, more than {} MiB together",
                            found.texts.len() + 1,
                            MAX_TEXT_BYTES >> 20
                        );
                        return Err(Fault::new(
                            Part::Whole,
                            Code::UnstableTemplate,
                            message,
                            "divide the row",
                        ));
                    }
                    found.texts.push(Text { full: text, turns: vec![turn] });
                }
            }
        }
        found.texts.reverse();
        found.texts.iter_mut().for_each(|text| text.turns.reverse());
        if let (Some(text), Some(&last)) = (found.texts.last(), trained.last()) {
            found.left_out = shown::left_out(messages, text);
            if !self.shows_tools(conversation, last, &text.full)? {
                let what = "the chat template does not show the tools of the row";
                let fix = "use a base or a template that knows tools, or remove them";
                return Err(Fault::new(Part::Tools, Code::Template, what, fix));
            }
        }
        Ok(found)
    }

    /// Whether a text names all tools, and is another one without them.
    fn shows_tools(&self, conversation: &Conversation, last: usize, text: &str) -> Result<bool, Error> {
        let Conversation { messages, tools } = conversation;
        let is_named = |tool: &serde_json::Value| {
            tool["function"]["name"].as_str().is_none_or(|name| text.contains(name))
        };
        if tools.is_empty() || !tools.iter().all(is_named) {
            return Ok(tools.is_empty());
        }
        // A template may refuse calls without tools.
        let without = self.render(&messages[..=last], &[], false);
        Ok(!without.is_ok_and(|without| without == text))
    }

    /// Bytes of a text without the end token of the whole conversation, which some templates write behind the end of the
    /// last turn: that turn's end stands before it.
    fn without_end(&self, text: &str, turn: &Turn, message: &Message) -> Option<usize> {
        let shorter = text.strip_suffix(self.special_tokens.eos.as_deref()?)?;
        let learnt = shorter.get(turn.prompt_bytes..)?;
        let (_, answer) = thoughts_and_answer(message);
        let behind = &learnt[learnt.rfind(answer)? + answer.len()..];
        let ends = message.tool_calls.is_empty() && !behind.trim().is_empty();
        ends.then_some(shorter.len())
    }

    /// A trained turn, and the text that ends with it.
    fn turn(&self, conversation: &Conversation, index: usize) -> Result<(Turn, String), Fault> {
        let Conversation { messages, tools } = conversation;
        let (before, message) = (&messages[..index], &messages[index]);
        let (thoughts, answer) = thoughts_and_answer(message);
        let mut turn = self.render(&messages[..=index], tools, false)?;
        let prompt = self.prompt_before(&turn, before, thoughts, tools)?;
        if let Some(start) = prompt.strip_suffix(THINK)
            && turn.starts_with(start)
            && !turn.starts_with(&prompt)
        {
            // The template leaves thoughts out wherever it can, or parts them otherwise, and the model is made to think.
            let written = turn[start.len()..].trim_start();
            let parted =
                written.strip_prefix(THINK.trim_end()).and_then(|rest| rest.split_once(END_THINK.trim()));
            let answer = match parted {
                Some((own, answer)) if own.trim() == thoughts => answer.trim_start(),
                _ => written,
            };
            turn = format!("{prompt}{thoughts}{END_THINK}{answer}");
        }
        let Some(learnt) = turn.strip_prefix(&prompt) else {
            let (what, fix) = match index {
                0 => (
                    "the chat template has no prompt for an answer to nothing",
                    "put a system or user message before it, or give it weight 0",
                ),
                _ => (
                    "the chat template does not write this turn behind the prompt that the model is given for it, so \
                     the trained tokens cannot be told",
                    "change the template, or give the message weight 0",
                ),
            };
            return Err(Fault::at_message(index, Code::UnstableTemplate, what, fix));
        };
        for (text, what) in [(thoughts, "reasoning"), (answer, "text")] {
            if !learnt.contains(text) {
                let sentence =
                    format!("the chat template does not write the {what} of this answer as it stands");
                let fix = match message.reasoning_content {
                    Some(_) if what == "reasoning" => {
                        "write it at the beginning of the content, between <think> and </think>, use a template that writes it, \
                         or remove it"
                    }
                    _ => "remove it, or use a template that writes it",
                };
                return Err(Fault::at_message(index, Code::Template, &sentence, fix));
            }
        }
        // Beside those of the content itself, once: thoughts, or that there are none.
        let mark = END_THINK.trim();
        let own = message.content.matches(mark).count();
        if learnt.matches(mark).count() > own.max(1) {
            let what = "the chat template writes thoughts before the answer, and those of the row once more or empty ones";
            let fix = "put the thoughts into reasoning_content, or use another template";
            return Err(Fault::at_message(index, Code::Template, what, fix));
        }
        if message.tool_calls.iter().any(|call| !learnt.contains(&call.name)) {
            let what = "the chat template does not write the tool calls of this answer";
            let fix = "use a base or a template that knows tools, or give the message weight 0";
            return Err(Fault::at_message(index, Code::Template, what, fix));
        }
        Ok((Turn { index, prompt_bytes: prompt.len(), turn_bytes: turn.len() }, turn))
    }

    /// The prompt for an answer. Where the model can be told not to think, and the answer has no thoughts, it is told so:
    /// the empty thoughts that the template then writes are given, not learnt.
    fn prompt_before(
        &self,
        turn: &str,
        before: &[Message],
        thoughts: &str,
        tools: &[serde_json::Value],
    ) -> Result<String, Error> {
        if self.can_be_told_not_to_think() && thoughts.is_empty() {
            let prompt = self.render_thinking(before, tools, true, Some(false))?;
            if turn.starts_with(&prompt) {
                return Ok(prompt);
            }
        }
        self.render(before, tools, true)
    }

    /// What the template writes for a short answer, after the prompt for it: its end-of-turn token stands there.
    /// Empty if the conversation does not begin with the prompt.
    pub(crate) fn short_answer(&self) -> Result<String, Error> {
        let messages = vec![Message::new(Role::User, "a"), Message::new(Role::Assistant, "b")];
        let conversation = Conversation { messages, tools: Vec::new() };
        match self.turn(&conversation, 1) {
            Ok((turn, text)) => Ok(text[turn.prompt_bytes..].to_owned()),
            Err(_) => {
                // Says what is wrong if it does not render at all.
                self.render(&conversation.messages, &[], false)?;
                Ok(String::new())
            }
        }
    }
}

/// What an assistant thought and what it then said, each without white space around it. Thoughts stand beside the content
/// or at its beginning.
pub(crate) fn thoughts_and_answer(message: &Message) -> (&str, &str) {
    let content = message.content.trim();
    let inline = content.strip_prefix(THINK.trim_end()).and_then(|rest| rest.split_once(END_THINK.trim()));
    match (&message.reasoning_content, inline) {
        (Some(thoughts), None) => (thoughts.trim(), content),
        (None, Some((thoughts, answer))) => (thoughts.trim(), answer.trim()),
        // Two of them: the template says what becomes of the second.
        (Some(thoughts), Some(_)) => (thoughts.trim(), content),
        (None, None) => ("", content),
    }
}
