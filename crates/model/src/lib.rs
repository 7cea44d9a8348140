//! Decoder models with LoRA: files in, logits, losses and adapter gradients out.
//!
//! # What it is for
//! Reads bases of the Llama, Mistral, Qwen, SmolLM, Gemma and Phi-3 families (Hugging Face directories, GGUF), runs them forward over packed rows or with
//! KV caches, computes the loss and the gradients of a LoRA adapter, and reads and writes adapters in
//! PEFT's form. Everything numerical goes through [`hearth_kernels::backend::Backend`], so the same text
//! runs on the fast CPU backend and on the scalar reference.
//!
//! # Data flow
//! `config.json` → [`ModelConfig`]; `model.gguf` or `model.safetensors` → [`Decoder::load`];
//! [`Packed`] rows → [`Decoder::loss_and_grads`] → [`LoraGrads`]; new tokens and [`KvCache`]s →
//! [`Decoder::decode`] → logits; [`Lora::save_peft`] → an adapter directory. [`convert`] turns GGUF metadata
//! into what the directory of an imported model holds beside its weights.
//!
//! # Neighbours
//! Uses `kernels`. Used by `train` (losses, gradients, adapters), `inference` (decoding) and the command
//! line (conversion at import). Knows no tokenizer, no template, no job.
//!
//! # Invariants
//! - There is one decoder. Architectures are configurations of it ([`ModelConfig`]), never code of their own.
//! - Frozen weights have no gradient and no copy: they stay in the bytes of the mapped file (q and k of
//!   GGUF files of architectures `llama` and `smollm3` are the exception: their rows are put in `rotate_half` order).
//! - Nothing is computed below the lowest adapted linear, and logits only where the loss has weight.
//! - A packed batch gives the loss sums and gradients of its rows alone.
//! - A file that asks for something unsupported is an error that names the field or tensor; damaged files
//!   never panic.
//! - No I/O except in [`Decoder::load`], [`check_weights`], [`inspect_base`], [`gguf`], `ModelConfig::read` and the
//!   PEFT functions ([`inspect_peft`], [`read_peft_config`], [`write_peft`] and those of [`Lora`]).

mod backward;
pub mod config;
pub mod convert;
mod decode;
mod decoder;
mod error;
mod finite;
mod forward;
pub mod gguf;
mod lora;
mod map;
mod packed;
mod peft;
mod rope;
mod safetensors;
mod weights;
mod work;
mod workspace;

pub use crate::config::{LayerPlan, ModelConfig, Module};
pub use crate::decode::{DecodeSeq, KvCache, SCORED_ROWS_PER_PRODUCT};
pub use crate::decoder::Decoder;
pub use crate::error::{Error, Result};
pub use crate::finite::{check_weights, inspect_base};
pub use crate::lora::{Lora, LoraConfig, LoraGrads, LoraTensors, MAX_RANK};
pub use crate::map::SharedBytes;
pub use crate::packed::Packed;
pub use crate::peft::{
    ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, inspect_peft, read_peft_config, write_peft,
};
pub use crate::rope::{Rope, RopeScaling};
pub use crate::safetensors::{INDEX_FILE, SINGLE_FILE};
pub use crate::weights::GGUF_FILE;
pub use crate::workspace::Workspace;
