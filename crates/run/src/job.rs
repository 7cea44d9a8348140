//! `job.json`: what to train, as plain versioned data with every default resolved.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The linear layers of a block, in PEFT's names. A base that stores several of them as one (Phi-3) adapts that one.
pub const LORA_TARGETS: [&str; 7] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Which backend of `kernels` runs the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The fast one, with the best instruction set found.
    #[default]
    Cpu,
    /// Scalar f32, for checks.
    Reference,
}

/// Rounding of GEMM inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Inputs rounded to bfloat16 (nearest even), accumulation in f32.
    #[default]
    Bf16,
    /// Everything in f32.
    F32,
    /// As [`Precision::Bf16`], but products with frozen weights in 8-bit integers.
    Int8,
}

/// Tokens of a micro-batch, if nobody says otherwise. On two cores with AVX-512 BF16, rows of 256 tokens and
/// SmolLM2-135M, it is some 5 % faster than 2,048 (activations stay nearer), in 60 % of the memory; frozen weights
/// are expanded once per micro-batch and direction, which forbids much less.
pub const MICRO_BATCH_TOKENS: u32 = 1024;

/// When a run ends before its last step. The best adapter becomes the output then, and also when it does not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStop {
    /// Evaluations in a row without a gain after which the run ends.
    pub patience: u32,
    /// A gain is a loss that is lower than that of the last gain by at least this share.
    pub min_gain: f32,
}

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LrSchedule {
    /// It stays.
    #[default]
    Constant,
    /// Falls in a line towards 0.
    Linear,
    /// Falls as half a cosine.
    Cosine {
        /// Share of the peak that it falls towards, 0 to 1.
        min_ratio: f32,
        /// The last share of all steps in which it falls, above 0 and at most 1.
        decay_ratio: f32,
    },
}

/// Most checkpoints that a run keeps for `sampler_checkpoint_interval_steps`.
pub const SAMPLER_CHECKPOINTS_MAX: u64 = 100;

/// Fields that came later are written only when they say something: what a checkpoint belongs to is told by a digest
/// of the settings, and an older run directory must keep its own.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Where a file of rows came from, for people: nothing is read from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataOrigin {
    /// Name of its dataset.
    pub dataset: String,
    /// Its name there; none if it was fetched from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// One run's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Format version of this file: [`JobSpec::VERSION`].
    pub version: u32,
    /// Directory of the base model (`config.json`, `tokenizer.json`, weights).
    pub base_model_dir: PathBuf,
    /// What the adapter's `base_model_name_or_path` says.
    pub base_model_name: String,
    /// Training rows: JSONL files, read in this order.
    pub train_files: Vec<PathBuf>,
    /// Evaluation rows; empty means no evaluation, unless `eval_carveout`.
    pub eval_files: Vec<PathBuf>,
    /// Sets training rows aside for evaluation, chosen by the seed; not beside `eval_files`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub eval_carveout: bool,
    /// When the run ends early; `None` is never. Needs evaluation rows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub early_stop: Option<EarlyStop>,
    /// Directory of the adapter to go on from, in PEFT's form; `lora_rank`, `lora_alpha` and `target_modules` are its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub warm_start_dir: Option<PathBuf>,
    /// Name of the model that this adapter is of, for the ledger.
    #[serde(default, skip_serializing_if = "is_default")]
    pub warm_start_name: Option<String>,
    /// Where `train_files` and then `eval_files` came from, for the ledger; empty, or one for each.
    #[serde(default, skip_serializing_if = "is_default")]
    pub data_origins: Vec<DataOrigin>,
    /// Chat template that replaces the base model's own.
    pub chat_template: Option<String>,
    /// Seed of adapter initialisation and row order.
    pub seed: u64,
    /// Passes over the training rows.
    pub epochs: u32,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Steps of linear warm-up; 0 is none.
    pub learning_rate_warmup_steps: u32,
    /// What the rate does after it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lr_schedule: LrSchedule,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: f32,
    /// LoRA rank.
    pub lora_rank: u32,
    /// LoRA alpha; the adapter is scaled by `lora_alpha / lora_rank`.
    pub lora_alpha: f32,
    /// Adapted linear layers, of [`LORA_TARGETS`]; those of an adapter that is gone on from have the names that it has.
    pub target_modules: Vec<String>,
    /// Longest training sample, in tokens. A longer one is dropped and counted.
    pub max_context_length: u32,
    /// Most tokens of one packed batch. Ignored when `batch_size_samples` is above 0.
    pub batch_size_tokens: u32,
    /// Samples of one batch; 0 means that `batch_size_tokens` decides.
    pub batch_size_samples: u32,
    /// Batches per optimiser step.
    pub gradient_accumulation_steps: u32,
    /// Most tokens that one forward and backward takes; a batch is split by samples into micro-batches of
    /// at most this many tokens (one sample may be longer). Changes memory, not the result's meaning.
    pub micro_batch_tokens: u32,
    /// Optimiser steps between checkpoints.
    pub checkpoint_interval_steps: u32,
    /// Optimiser steps between checkpoints that stay, [`SAMPLER_CHECKPOINTS_MAX`] at most; 0 is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sampler_checkpoint_interval_steps: u32,
    /// Optimiser steps between evaluations, besides those at the end of each epoch; 0 means none besides.
    pub eval_interval_steps: u32,
    /// Backend.
    pub backend: Backend,
    /// GEMM input precision.
    pub precision: Precision,
    /// Threads; 0 means one per core. The result does not depend on it.
    pub threads: u32,
}

impl JobSpec {
    /// Current format version.
    pub const VERSION: u32 = 1;
}
