//! The control plane: one service with two faces (gRPC and REST), chat, files, and the jobs behind them.
//!
//! # What it is for
//! [`serve`] opens a data directory and answers on one port: `gateway.Gateway` over gRPC, the same RPCs as REST
//! (`transcode`, read off the descriptors), OpenAI-style chat (`openai`), and files behind signed URLs (`http`). It
//! describes all that in an OpenAPI document (`openapi`) and a page (`docs`).
//!
//! # Data flow
//! A request gets an id (`context`), its key becomes a [`Caller`] (`auth`), the transcoder makes a message of a REST
//! call, and one function of `gateway` answers both faces: it checks names and rights, asks `domain`, and reads or
//! writes through `store`.
//!
//! # Neighbours
//! `domain` rules, `store` remembers, `data` checks rows, `inference` answers chats, `run` is the contract with
//! trainers, which are processes of their own. `cli` starts this crate.
//!
//! # Invariants
//! No training step runs in this process. Only this crate turns errors into gRPC and HTTP codes ([`ServerError`]).
//! No handler reads a resource before the caller's right to it is checked. Keys, signatures and rows never reach the
//! log. Every limit stands in [`limits`].

mod access;
mod auth;
mod batch;
mod body;
mod context;
mod deployments;
mod docs;
mod drain;
mod error;
mod event_streams;
mod gateway;
mod grpc;
mod health;
mod http;
mod jobs;
pub mod limits;
mod listen;
mod metrics;
mod note;
mod openai;
mod openapi;
mod operations;
mod outgoing;
mod quota;
mod rate;
mod reply;
mod serve;
mod state;
mod tls;
mod transcode;
mod uploads;
mod wandb;
mod webhooks;

pub use auth::Caller;
pub use error::{FieldViolation, ServerError};
pub use hearth_remote::{AzureIdentity, S3Endpoint, Services as StorageServices, StsConfig};
pub use jobs::{Executor, JobsConfig, TRAINER_SILENCE_MAX, is_region};
pub use serve::{RunningServer, ServerConfig, serve};
pub use tls::TlsConfig;
pub use wandb::WANDB_BASE_URL;

/// Milliseconds since the Unix epoch. A clock before it counts as the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
