//! Answers conversations with resident models: batching, sampling, streaming.
//!
//! # What it is for
//! A [`Service`] keeps one shared copy of each base model, applies any number of adapters over it without
//! merging them, and continues many conversations at a time.
//!
//! # Data flow
//! [`GenerateRequest`] → the model's chat template and tokenizer → queue → batch. Each step feeds every
//! sequence in the batch: a chunk of its prompt, or its last token. New sequences join between steps and
//! finished ones leave. Logits → sampler → token → whole characters → text before a stop string →
//! [`Event`]s of a [`Generation`].
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
//! more step. A chat template that is not the base's own never runs in this process.

mod error;
mod models;
mod plan;
mod render;
mod request;
mod sample;
mod scheduler;
mod sequence;
mod service;
mod text;

pub use error::InferenceError;
/// The backend that a service runs on, for callers that may not use `kernels` themselves.
pub use hearth_kernels::{Cpu, CpuOptions};
pub use plan::{PREFILL_CHUNK_TOKENS, PREFILL_TOKENS_PER_STEP};
pub use request::{Event, FinishReason, GenerateRequest, Generation, ModelRef, Usage};
pub use sample::{MAX_TEMPERATURE, SamplingParams};
pub use service::{Limits, Service};
pub use text::{MAX_STOP_BYTES, MAX_STOP_STRINGS};
