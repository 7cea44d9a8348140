//! From rows of JSONL to token sequences with loss weights, and from conversations to prompts.
//!
//! # What it is for
//! Reading and checking datasets, rendering conversations through the model's own chat template, tokenising,
//! finding the tokens that a row trains, and dividing the samples into batches. Inference uses the same
//! [`Renderer`], so that the text that was trained and the text that is served cannot drift apart.
//!
//! # Data flow
//! bytes → [`source`] → [`RowReader`] → [`Row`] → [`Renderer::render`] → [`Sample`]s → [`pack::Plan`] → micro-batches.
//! [`check::check`] goes the same way with every [`Finding`] collected. For chat:
//! [`Message`]s → [`Renderer::prompt`] → ids → the model → [`StreamDecoder`] → text.
//!
//! # Neighbours
//! `server` calls [`check::check`]; `train` reads, renders and packs; `inference` renders prompts and decodes;
//! `cli` makes a tokenizer of a GGUF file's metadata at import through [`tokenizer::from_gguf`].
//!
//! # Invariants
//! - Nothing here knows of a job, an account or a model's weights.
//! - Memory is bounded by named limits: a row never holds more than [`read::MAX_LINE_BYTES`]. (What a template
//!   builds in its own variables is not; see [`template::process`] for those of strangers.)
//! - No error text quotes the contents of a row: it names the line, the JSON pointer and what is wrong.
//! - A field that would change what is trained is acted on or refused, never ignored.
//! - The ids of a serving prompt are a prefix of the ids of the sample that trains its answer.
//! - The same rows, settings and seed give the same samples and the same plan on every machine. (A template
//!   that calls `strftime_now` depends on the day.)

pub mod carve;
pub mod check;
mod error;
pub mod finding;
pub mod json;
pub mod pack;
pub mod read;
pub mod render;
pub mod request;
pub mod row;
pub mod source;
pub mod template;
pub mod tokenizer;

pub use check::check;
pub use error::Error;
pub use finding::{BadRow, Code, Finding};
pub use read::{Limits, RowReader};
pub use render::{Rendered, Renderer, Sample};
pub use row::{Conversation, Format, Message, Role, Row, RowContent, ToolCall};
pub use template::{ChatTemplate, ToolForm};
pub use tokenizer::{SpecialTokens, StreamDecoder, Tokenizer};
