//! Continues conversations and texts with resident models: batching, sampling, streaming.
//!
//! # What it is for
//! A [`Service`] keeps one shared copy of each base model, applies any number of adapters over it without
//! merging them, and continues many prompts at a time.
//!
//! # Data flow
//! [`GenerateRequest`] → the model's chat template and tokenizer → queue → batch. Each choice of a request is a
//! sequence there. Each step feeds every sequence in the batch: a chunk of its prompt, or its last token. New
//! sequences join between steps and finished ones leave. Logits → what a constraint allows → sampler → token → whole characters → text before a
//! stop string → [`Event`]s of a [`Generation`].
//!
//! Files that somebody brings → [`assemble`] → a complete model directory, or everything that is wrong with them.
//!
//! # Neighbours
//! `data` renders prompts and decodes tokens, with the same templates as training. `model` computes logits,
//! with the same kernels as training. `server` turns requests and events into HTTP; it decides who may use
//! which model and whether it still exists.
//!
//! # Invariants
//! No account, model name or database appears here: models are directories. One thread owns the batch; it
//! never loads a model and never waits for a reader. The text of a request does not depend on what else is in the
//! batch. Every queue and cache has a limit in [`Limits`]. A request whose reader is gone costs at most one
//! more step. A [`Constraint`] forbids tokens of its own request and does nothing else; its work is bounded, whatever it
//! is. A chat template that is not the base's own, or whose base is not trusted, never runs in this process. A pinned
//! model is in memory; one that is let go is out of it as soon as its running requests end.

pub mod assemble;
mod cache;
mod constraint;
mod error;
mod models;
mod plan;
mod precision;
mod prompt;
mod render;
mod request;
mod sample;
mod samples;
mod scheduler;
mod sequence;
mod service;
mod stats;
mod text;
#[cfg(test)]
#[path = "../tests/tiny/mod.rs"]
mod tiny;
mod transcript;

pub use constraint::{Constraint, Tool};
pub use error::InferenceError;
/// The backend that a service runs on, for callers that may not use `kernels` themselves.
pub use hearth_kernels::{Cpu, CpuOptions};
pub use models::{Pin, Residency, Resident};
pub use plan::{PREFILL_CHUNK_TOKENS, PREFILL_TOKENS_PER_STEP};
pub use precision::stored_precision;
pub use request::{
    Alternative, ChatInput, DEFAULT_MAX_TOKENS, Event, Finish, FinishReason, GenerateRequest, Generation,
    Input, MAX_CHOICES, MAX_TOP_LOGPROBS, ModelRef, Overflow, Piece, PromptTokens, Times, Token, TokenScore,
    Usage,
};
pub use sample::{
    MAX_BIASED_TOKENS, MAX_LOGIT_BIAS, MAX_PENALTY, MAX_REPETITION_PENALTY, MAX_TEMPERATURE, MAX_TOP_K,
    SamplingParams,
};
pub use samples::Sampler;
pub use service::{Limits, Service};
pub use stats::Stats;
pub use text::{MAX_STOP_BYTES, MAX_STOP_STRINGS};
