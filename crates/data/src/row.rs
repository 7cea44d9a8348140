//! One row of a dataset: what is accepted, and the sentences for what is not.
//!
//! A chat row is `{"messages": [{"role", "content", …}, …], "tools"?, "weight"?}`; a completion row is `{"prompt",
//! "completion", "weight"?}`; a row of plain text is `{"text", "weight"?}`. Other spellings of the same
//! ([`Spelling`]) are read as these, and the row says so. Keys that would change what is trained and that are not
//! supported are refused by name (`refused`). Other keys (`id`, `metadata`, …) are allowed and have no effect. A null
//! says nothing: programs that keep rows in tables write it for what a row has not.

mod chat;
mod places;
mod refused;
mod tools;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::finding::{BadRow, Code, Finding};
use crate::json::{Json, MAX_ROW_FINDINGS, Place};
use crate::template::turns::thoughts_and_answer;
pub use places::Part;
use places::Places;

/// Most messages of a conversation. Finding the trained tokens takes a rendering for each answer.
pub const MAX_MESSAGES: usize = 2_000;
/// Largest weight of a row: one that counts more than this many others is a mistake.
pub const MAX_WEIGHT: f32 = 1_000.0;
/// Longest part of an unknown role or content type that an error shows, in bytes.
const MAX_SHOWN_NAME_BYTES: usize = 24;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions; at most one, and first.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
    /// What a tool answered.
    Tool,
}

impl Role {
    const ALL: [Role; 4] = [Role::System, Role::User, Role::Assistant, Role::Tool];

    /// The name in rows and templates.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }

    /// The role of this name.
    pub fn parse(name: &str) -> Option<Role> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// A call of a tool that the model asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What the tool's answer refers to; empty if it was not given.
    pub id: String,
    /// Name of the function.
    pub name: String,
    /// Its arguments, in the order in which they were given.
    pub arguments: Map<String, Value>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text; text parts are joined without a separator. Empty where only tools are called.
    pub content: String,
    /// What the assistant thought before it, if that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Whether the loss counts this message: false for `"weight": 0`. Only assistant messages are ever
    /// trained, so it has no effect on the others.
    pub trained: bool,
    /// Calls that the assistant asked for.
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool answers.
    pub tool_call_id: Option<String>,
    /// Name of the speaker, if it was given: of the tool that answers, or as templates may show it.
    pub name: Option<String>,
}

impl Message {
    /// A message with weight 1 that has nothing to do with tools.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message {
            role,
            content: content.into(),
            reasoning_content: None,
            trained: true,
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
        }
    }

    /// Whether thoughts stand beside its content or at its beginning.
    pub fn has_thoughts(&self) -> bool {
        !thoughts_and_answer(self).0.is_empty()
    }

    /// Whether it is learnt.
    pub fn is_trained(&self) -> bool {
        self.role == Role::Assistant && self.trained
    }
}

/// A conversation with at least one message that is learnt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// First to last.
    pub messages: Vec<Message>,
    /// Functions in OpenAI's form, verbatim, which the model is shown.
    pub tools: Vec<Value>,
}

impl Conversation {
    /// Whether an answer that is learnt has thoughts.
    pub fn teaches_thoughts(&self) -> bool {
        self.messages.iter().any(|message| message.is_trained() && message.has_thoughts())
    }
}

/// Format of a dataset: all its rows have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// `messages`.
    Chat,
    /// `prompt` and `completion`, or `text`, which is a completion of nothing.
    Completion,
}

impl Format {
    /// What its rows have, for a sentence.
    pub(crate) fn fields(self) -> &'static str {
        match self {
            Format::Chat => "messages",
            Format::Completion => "prompt and completion, or text",
        }
    }
}

/// How a row was written, where that is not this project's own form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spelling {
    /// `conversations` in place of `messages`, or `from` and `value` in place of `role` and `content`.
    ShareGpt,
    /// `functions` and `function_call` in place of `tools` and `tool_calls`.
    Functions,
    /// The role `developer` in place of `system`, or `function` in place of `tool`.
    Roles,
    /// `tools` as a text that holds JSON.
    ToolsText,
    /// `reasoning` or `thinking` in place of `reasoning_content`.
    Reasoning,
    /// Arguments of calls as JSON, and not as a text that holds it, or under the name `parameters`.
    Arguments,
    /// A tool without `"type": "function"` and `function` around it.
    BareTools,
    /// `system` beside `conversations`.
    SystemBeside,
}

impl Spelling {
    /// What was read as what.
    pub fn message(self) -> &'static str {
        match self {
            Self::ShareGpt => {
                "read as ShareGPT: conversations as messages, from as role (human is user, gpt is assistant), value as content"
            }
            Self::Functions => "read as OpenAI's older form: functions as tools, function_call as tool_calls",
            Self::Roles => "the role developer is read as system, the role function as tool",
            Self::ToolsText => "the text in tools is read as the JSON that it holds",
            Self::Reasoning => "reasoning or thinking is read as reasoning_content",
            Self::Arguments => {
                "arguments of tool calls are read as they stand; OpenAI writes them as a text that holds JSON"
            }
            Self::BareTools => "tools that have their name outermost are read as functions",
            Self::SystemBeside => "system beside conversations is read as the first message",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Line of the file, from 1.
    pub line: u64,
    /// What stands there.
    pub content: RowContent,
    /// Factor of the loss of all its trained tokens, above 0; `None` if the row has none, which is 1.
    pub weight: Option<f32>,
    /// How it was written, each once, ascending.
    pub spellings: Vec<Spelling>,
    places: Places,
}

/// The two kinds of row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowContent {
    /// A conversation.
    Chat(Conversation),
    /// Text and its continuation; the continuation is trained. Plain text continues nothing.
    Completion {
        /// What is given.
        prompt: String,
        /// What is learnt.
        completion: String,
    },
}

impl Row {
    /// A row with weight 1.
    pub fn new(line: u64, content: RowContent) -> Self {
        Row { line, content, weight: None, spellings: Vec::new(), places: Places::default() }
    }

    /// Reads one line's JSON value. All that is wrong with it is told, up to [`MAX_ROW_FINDINGS`].
    pub fn from_json(line: u64, value: &Json<'_>) -> Result<Row, BadRow> {
        let mut reading = Reading::new(line);
        let row = reading.row(value);
        match row {
            Some((content, weight)) if reading.findings.is_empty() => {
                let mut spellings = reading.spellings;
                spellings.sort_unstable();
                spellings.dedup();
                Ok(Row { line, content, weight, spellings, places: reading.places })
            }
            _ => Err(BadRow::new(reading.findings)),
        }
    }

    /// Reads one line's text.
    pub fn from_text(line: u64, text: &str) -> Result<Row, BadRow> {
        Self::from_json(line, &crate::json::parse(line, text).map_err(BadRow::new)?)
    }

    /// The JSON pointer of a part, as the row was written.
    pub fn pointer(&self, part: Part) -> String {
        self.places.pointer(part)
    }

    /// The row's format.
    pub fn format(&self) -> Format {
        match self.content {
            RowContent::Chat(_) => Format::Chat,
            RowContent::Completion { .. } => Format::Completion,
        }
    }
}

/// What is found while a row is read. Readers give `None` after they have told what is wrong.
struct Reading {
    line: u64,
    findings: Vec<Finding>,
    spellings: Vec<Spelling>,
    places: Places,
}

impl Reading {
    fn new(line: u64) -> Self {
        Reading { line, findings: Vec::new(), spellings: Vec::new(), places: Places::default() }
    }

    /// Reads what stands in a text: whatever is wrong there is told at the place of the text, and other spellings are
    /// no news there.
    fn in_text<T>(&mut self, place: &Place<'_>, read: impl FnOnce(&mut Reading) -> T) -> T {
        let mut inner = Reading::new(self.line);
        let value = read(&mut inner);
        for found in inner.findings {
            self.push(place, found.code, found.message, found.fix);
        }
        value
    }

    fn push(&mut self, place: &Place<'_>, code: Code, message: impl Into<String>, fix: impl Into<String>) {
        if self.findings.len() < MAX_ROW_FINDINGS {
            self.findings.push(Finding::new(self.line, place.pointer(), code, message, fix));
        }
    }

    fn wrong_type(&mut self, place: &Place<'_>, what: &str, expected: &str, value: &Json<'_>) {
        let message = format!("{what} must be {expected}, this is {}", value.kind());
        self.push(place, Code::WrongType, message, format!("write {expected}"));
    }

    fn missing(&mut self, place: &Place<'_>, what: &str, field: &str) {
        let message = format!("{what} needs the field {field}");
        self.push(place, Code::MissingField, message, format!("add {field}"));
    }

    fn row(&mut self, row: &Json<'_>) -> Option<(RowContent, Option<f32>)> {
        let root = Place::ROOT;
        if !matches!(row, Json::Object(_)) {
            self.wrong_type(&root, "a row", "a JSON object", row);
            return None;
        }
        self.refuse_keys(&root, row, refused::ROW_KEYS);
        let weight = self.row_weight(row);
        let has = |key: &str| row.given(key).is_some();
        let is_chat = has("messages") || has("conversations");
        let is_completion = has("prompt") || has("completion");
        if (is_completion || has("messages")) && row.get("system").is_some_and(|text| !text.says_nothing()) {
            let what = "system beside the other fields is not supported";
            let fix = "make it the first message, or the beginning of the prompt";
            self.push(&root.key("system"), Code::UnsupportedField, what, fix);
        }
        let content = match (is_chat, is_completion, has("text")) {
            // Other programs note the rendered text beside what it was made of.
            (true, false, _) => RowContent::Chat(self.conversation(row)?),
            (false, true, _) => RowContent::Completion {
                prompt: self.text_field(row, "prompt", "a completion row")?,
                completion: self.text_field(row, "completion", "a completion row")?,
            },
            (false, false, true) => RowContent::Completion {
                prompt: String::new(),
                completion: self.text_field(row, "text", "a row of plain text")?,
            },
            (true, true, _) => {
                self.push(
                    &root,
                    Code::ConflictingFields,
                    "a row has either messages, or prompt and completion, not both",
                    "keep one of them",
                );
                return None;
            }
            (false, false, false) => {
                self.push(
                    &root,
                    Code::MissingField,
                    "a row needs the field messages, the fields prompt and completion, or the field text",
                    match has("instruction") || has("output") || has("response") || has("answer") {
                        true => "rename what is asked to prompt and what is answered to completion",
                        false => "add one of them",
                    },
                );
                return None;
            }
        };
        Some((content, weight))
    }

    fn row_weight(&mut self, row: &Json<'_>) -> Option<f32> {
        let place = Place::ROOT.key("weight");
        match row.get("weight")? {
            Json::Null => None,
            Json::Number(number) => {
                let weight = number.as_f64().unwrap_or(f64::NAN) as f32;
                if weight > 0.0 && weight <= MAX_WEIGHT {
                    return Some(weight);
                }
                let fix = format!(
                    "give a number above 0, up to {MAX_WEIGHT}, or remove a row that must not be learnt"
                );
                self.push(&place, Code::BadWeight, "the weight of a row is out of range", fix);
                None
            }
            other => {
                self.wrong_type(&place, "weight", "a number", other);
                None
            }
        }
    }

    fn text_field(&mut self, row: &Json<'_>, name: &str, what: &str) -> Option<String> {
        let root = Place::ROOT;
        match row.given(name) {
            Some(Json::String(text)) => Some(text.to_string()),
            Some(other) => {
                self.wrong_type(&root.key(name), name, "a string", other);
                None
            }
            None => {
                self.missing(&root, what, name);
                None
            }
        }
    }

    fn spelt(&mut self, spelling: Spelling) {
        if !self.spellings.contains(&spelling) {
            self.spellings.push(spelling);
        }
    }
}

/// ` "name"` when it looks like a name, and nothing when it could be content.
fn shown(name: &str) -> String {
    let looks_like_a_name = !name.is_empty()
        && name.len() <= MAX_SHOWN_NAME_BYTES
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if looks_like_a_name { format!(" {name:?}") } else { String::new() }
}

#[cfg(test)]
mod tests;
