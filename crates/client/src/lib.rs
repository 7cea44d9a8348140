//! A small blocking client of the REST API and of the chat endpoint.
//!
//! # What it is for
//! The commands of `hearth` and the demo talk to a server through it, as any other program on the network
//! would. Resources stay `serde_json::Value` where a caller only shows them; [`Job`] and [`MetricsRow`] are
//! views of the fields that a caller reads.
//!
//! # Data flow
//! A resource name (`accounts/a/datasets/d`) and a verb become one HTTP request; the answer becomes a value or
//! a [`ClientError`]. [`Client::chat_stream`] yields pieces of the answer while the model writes it.
//!
//! # Neighbours
//! `server` answers, over the network only. `cli` is the caller.
//!
//! # Invariants
//! No environment variable and no configuration file is read here. The API key goes into the `Authorization`
//! header of the configured server and nowhere else: not into signed URLs, errors or debug output.

mod chat;
mod error;
mod event_stream;
mod http;
mod job;
mod resource;

pub use chat::{ChatAnswer, ChatPiece, ChatRequest, ChatStream, Message, Usage};
pub use error::ClientError;
pub use event_stream::JobEventStream;
pub use http::{Client, Identity};
pub use job::{Job, JobProgress, JobStatus, MetricsRow};
pub use resource::{RowUses, last_segment, qualify};
