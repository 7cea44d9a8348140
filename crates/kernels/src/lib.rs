//! The arithmetic of training and decoding: one contract per op, chosen implementations per machine.
//!
//! # What it is for
//! A decoder-only transformer with LoRA needs about a dozen ops. [`Backend`] is their contract; [`Cpu`] runs
//! them fast on this machine, [`Reference`] runs them in plain scalar loops in f32 or f64, for finite
//! differences and golden tests of whole models. [`Timed`] runs either and counts the time and arithmetic of its ops.
//!
//! # Data flow
//! Frozen matrices come in as [`WeightBytes`] in their stored form (bf16, GGUF blocks, usually a mapped file)
//! and are expanded tile by tile where they are used. Activations and gradients live in a backend's own
//! buffers and leave only through `download`.
//!
//! # Neighbours
//! `model` writes forward and backward over [`Backend`]. Nothing here knows of models, files or jobs.
//!
//! # Invariants
//! Results never depend on the number of threads: each output element is computed by exactly one task, and
//! every reduction has a fixed order. Across instruction sets results agree within stated tolerances only.
//! No matrix is ever expanded as a whole; no tokens x vocabulary and no T x T matrix is kept.
//! `unsafe` stands only in `pool` (a borrowed loop body for workers), `simd` (run-time dispatch), `gemm` (tiles of
//! a shared output), `attention` (rows of shared outputs, scratch), `dequant` and `linear::thin` (dispatch), `amx` (tile registers), `measure` (dispatch) and files named after an instruction set, always
//! with its reason.

pub mod backend;
pub mod weight;

mod aligned;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod attention;
mod context;
mod cpu;
mod dequant;
mod error;
mod finite;
mod gemm;
mod glu;
mod linear;
mod loss;
mod measure;
mod numbers;
mod optimizer;
mod options;
mod pool;
mod real;
mod reference;
mod rmsnorm;
mod rope;
mod rows;
mod simd;
mod timed;

#[cfg(test)]
mod testing;

pub use backend::{
    Activation, AdamW, AttentionShape, Backend, CachedSpan, Columns, Linear, LoraGrad, LoraSpan, LossSums,
};
pub use cpu::{Cpu, CpuBuf};
pub use error::KernelError;
pub use finite::first_not_finite;
pub use loss::cpu::loss_bytes;
pub use options::{CpuOptions, Isa, MAX_THREADS, Precision};
pub use real::Real;
pub use reference::Reference;
pub use timed::{Part, Tally, Timed, attention_pairs, loss_products};
pub use weight::{WeightBytes, WeightDtype};
