//! Finds a model's tensors in its files and brings them to one convention: Hugging Face's.
//!
//! GGUF files of architectures `llama` and `smollm3` store the rows of q and k reordered for interleaved rotary pairs.
//! Adapters are written against Hugging Face's `rotate_half` order, so those rows are put back here. Rows
//! move whole; quantised blocks lie inside rows and stay as they are. Hugging Face files of Gemma hold the
//! weights of norms less one, GGUF files the weights themselves, as they are used here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use half::{bf16, f16};
use hearth_kernels::weight::{WeightBytes, WeightDtype};

use crate::config::{ModelConfig, Module};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::safetensors::{self, INDEX_FILE, SINGLE_FILE, Tensor};

/// Name of a GGUF base in a model directory.
pub const GGUF_FILE: &str = "model.gguf";

/// One tensor of the architecture; `l` is the block's number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name {
    Embed,
    Norm,
    Head,
    AttnNorm(usize),
    MlpNorm(usize),
    /// Of every head of q, `[head_dim]`.
    QNorm(usize),
    /// Of every head of k, `[head_dim]`.
    KNorm(usize),
    /// Of attention's output, before it is added.
    PostAttnNorm(usize),
    /// Of the MLP's output, before it is added.
    PostMlpNorm(usize),
    Weight(usize, Module),
    Bias(usize, Module),
}

impl Name {
    /// `sandwich`: whether the model norms the outputs of attention and MLP too. The norm before the MLP has
    /// another name then, and its usual name belongs to the norm after attention.
    fn hugging_face(self, sandwich: bool) -> String {
        let norm = |l, name| format!("model.layers.{l}.{name}_layernorm.weight");
        match self {
            Self::Embed => "model.embed_tokens.weight".to_owned(),
            Self::Norm => "model.norm.weight".to_owned(),
            Self::Head => "lm_head.weight".to_owned(),
            Self::AttnNorm(l) => norm(l, "input"),
            Self::MlpNorm(l) if sandwich => norm(l, "pre_feedforward"),
            Self::MlpNorm(l) | Self::PostAttnNorm(l) => norm(l, "post_attention"),
            Self::PostMlpNorm(l) => norm(l, "post_feedforward"),
            Self::QNorm(l) => format!("model.layers.{l}.self_attn.q_norm.weight"),
            Self::KNorm(l) => format!("model.layers.{l}.self_attn.k_norm.weight"),
            Self::Weight(l, m) => format!("model.layers.{l}.{}.{}.weight", m.parent(), m.name()),
            Self::Bias(l, m) => format!("model.layers.{l}.{}.{}.bias", m.parent(), m.name()),
        }
    }

    pub(crate) fn gguf(self) -> String {
        let linear = |m| match m {
            Module::Q => "attn_q",
            Module::K => "attn_k",
            Module::V => "attn_v",
            Module::O => "attn_output",
            Module::Gate => "ffn_gate",
            // Without a gate of its own, a file has both in "up".
            Module::Up | Module::GateUp => "ffn_up",
            Module::Down => "ffn_down",
            Module::Qkv => "attn_qkv",
        };
        match self {
            Self::Embed => "token_embd.weight".to_owned(),
            Self::Norm => "output_norm.weight".to_owned(),
            Self::Head => "output.weight".to_owned(),
            Self::AttnNorm(l) => format!("blk.{l}.attn_norm.weight"),
            Self::MlpNorm(l) => format!("blk.{l}.ffn_norm.weight"),
            Self::QNorm(l) => format!("blk.{l}.attn_q_norm.weight"),
            Self::KNorm(l) => format!("blk.{l}.attn_k_norm.weight"),
            Self::PostAttnNorm(l) => format!("blk.{l}.post_attention_norm.weight"),
            Self::PostMlpNorm(l) => format!("blk.{l}.post_ffw_norm.weight"),
            Self::Weight(l, m) => format!("blk.{l}.{}.weight", linear(m)),
            Self::Bias(l, m) => format!("blk.{l}.{}.bias", linear(m)),
        }
    }

    fn is_norm(self) -> bool {
        !matches!(self, Self::Embed | Self::Head | Self::Weight(..) | Self::Bias(..))
    }
}

/// GGUF tensor with divisors of the rotary frequencies (how these files say "llama3" scaling).
const GGUF_ROPE_FACTORS: &str = "rope_freqs.weight";

enum Source {
    Gguf { file: Gguf, interleaved: bool },
    Safetensors(BTreeMap<String, Tensor>),
}

/// Hands out the tensors of a model directory and remembers which were used.
pub(crate) struct Loader<'a> {
    source: Source,
    config: &'a ModelConfig,
    used: BTreeSet<String>,
}

impl<'a> Loader<'a> {
    pub(crate) fn open(dir: &Path, config: &'a ModelConfig) -> Result<Self> {
        let (loader, problems) = Self::open_with_problems(dir, config)?;
        problems.into_iter().next().map_or(Ok(loader), Err)
    }

    /// The same, with what is wrong with single files and tensors beside what could be read.
    pub(crate) fn open_with_problems(dir: &Path, config: &'a ModelConfig) -> Result<(Self, Vec<Error>)> {
        let mut problems = Vec::new();
        let has = |name: &str| dir.join(name).exists();
        let source = match (has(GGUF_FILE), has(SINGLE_FILE) || has(INDEX_FILE)) {
            (true, false) => {
                let file = Gguf::open(&dir.join(GGUF_FILE))?;
                let interleaved = matches!(file.str("general.architecture")?, Some("llama" | "smollm3"));
                Source::Gguf { file, interleaved }
            }
            (false, true) => {
                let (tensors, found) = safetensors::open_dir(dir)?;
                problems = found;
                Source::Safetensors(tensors)
            }
            (both, _) => {
                let reason = if both {
                    "holds both GGUF and safetensors weights; keep one"
                } else {
                    "holds no weights (model.gguf or model.safetensors)"
                };
                return Err(Error::Directory { path: dir.to_owned(), reason: reason.to_owned() });
            }
        };
        Ok((Self { source, config, used: BTreeSet::new() }, problems))
    }

    /// A matrix of exactly this shape.
    pub(crate) fn matrix(&mut self, name: Name, rows: usize, cols: usize) -> Result<WeightBytes> {
        let weight = self.find(name)?;
        if (weight.rows, weight.cols) != (rows, cols) {
            let reason =
                format!("shape is [{}, {}], config.json asks for [{rows}, {cols}]", weight.rows, weight.cols);
            return Err(Error::tensor(self.stored_name(name), reason));
        }
        Ok(match (&self.source, name) {
            (Source::Gguf { interleaved: true, .. }, Name::Weight(_, Module::Q | Module::K)) => {
                rotate_half_rows(&weight, self.config.head_dim)
            }
            _ => weight,
        })
    }

    /// A vector of exactly this length, as f32.
    pub(crate) fn vector(&mut self, name: Name, len: usize) -> Result<Vec<f32>> {
        let weight = self.find(name)?;
        let stored = self.stored_name(name);
        if (weight.rows, weight.cols) != (1, len) {
            let reason = format!("shape is [{}, {}], config.json asks for [{len}]", weight.rows, weight.cols);
            return Err(Error::tensor(stored, reason));
        }
        let mut values = to_f32(&weight).map_err(|reason| Error::tensor(stored, reason))?;
        if let (Source::Gguf { interleaved: true, .. }, Name::Bias(_, Module::Q | Module::K)) =
            (&self.source, name)
        {
            let old = values.clone();
            for (row, value) in values.iter_mut().enumerate() {
                *value = old[interleaved_row(row, self.config.head_dim)];
            }
        }
        if self.config.norm_offset && name.is_norm() && matches!(self.source, Source::Safetensors(_)) {
            values.iter_mut().for_each(|w| *w += 1.0);
        }
        Ok(values)
    }

    /// Divisors of the rotary frequencies, `[head_dim / 2]`, when the file has them.
    pub(crate) fn rope_factors(&mut self) -> Result<Option<Vec<f32>>> {
        let Source::Gguf { file, .. } = &self.source else { return Ok(None) };
        if !file.tensors().contains_key(GGUF_ROPE_FACTORS) {
            return Ok(None);
        }
        let weight = file.matrix(GGUF_ROPE_FACTORS)?;
        let factors = to_f32(&weight).map_err(|reason| Error::tensor(GGUF_ROPE_FACTORS, reason))?;
        let half = self.config.head_dim / 2;
        if factors.len() != half || factors.iter().any(|f| !(f.is_finite() && *f > 0.0)) {
            let reason = format!("expected {half} positive numbers");
            return Err(Error::tensor(GGUF_ROPE_FACTORS, reason));
        }
        self.used.insert(GGUF_ROPE_FACTORS.to_owned());
        Ok(Some(factors))
    }

    /// Refuses a file with tensors that nothing asked for: they would be silently left out of the computation.
    pub(crate) fn finish(self) -> Result<()> {
        self.unused().into_iter().next().map_or(Ok(()), Err)
    }

    /// One error for each tensor that nothing asked for.
    fn unused(&self) -> Vec<Error> {
        let names: Vec<&String> = match &self.source {
            Source::Gguf { file, .. } => file.tensors().keys().collect(),
            Source::Safetensors(tensors) => tensors.keys().collect(),
        };
        let head = self.stored_name(Name::Head);
        // Old checkpoints store the rotary table; tied models may store the head a second time.
        let is_harmless =
            |name: &str| name.contains("rotary_emb.") || (self.config.tie_word_embeddings && name == head);
        let reason = format!("is not part of a {} model with this config.json", self.config.model_type);
        names
            .into_iter()
            .filter(|name| !is_harmless(name) && !self.used.contains(*name))
            .map(|name| Error::tensor(name, reason.clone()))
            .collect()
    }

    /// Looks for every tensor of the architecture: what is missing, has another shape, or belongs to no part of it.
    pub(crate) fn problems(mut self) -> Vec<Error> {
        let config = self.config;
        let (v, c) = (config.vocab_size, config.hidden_size);
        let mut problems = Vec::new();
        let mut note = |found: Result<()>| problems.extend(found.err());
        note(self.matrix(Name::Embed, v, c).map(drop));
        if !config.tie_word_embeddings {
            note(self.matrix(Name::Head, v, c).map(drop));
        }
        note(self.vector(Name::Norm, c).map(drop));
        for l in 0..config.num_hidden_layers {
            let mut norms = vec![(Name::AttnNorm(l), c), (Name::MlpNorm(l), c)];
            if config.qk_norm {
                norms.extend([Name::QNorm(l), Name::KNorm(l)].map(|name| (name, config.head_dim)));
            }
            if config.sandwich_norms {
                norms.extend([Name::PostAttnNorm(l), Name::PostMlpNorm(l)].map(|name| (name, c)));
            }
            for (name, len) in norms {
                note(self.vector(name, len).map(drop));
            }
            for &m in config.linears() {
                let (n, k) = config.shape(m);
                note(self.matrix(Name::Weight(l, m), n, k).map(drop));
                if config.bias[m as usize] {
                    note(self.vector(Name::Bias(l, m), n).map(drop));
                }
            }
        }
        note(self.rope_factors().map(drop));
        problems.extend(self.unused());
        problems
    }

    /// Every vector and matrix of the files in a form that is read here, by the name that they give it.
    pub(crate) fn stored(&self) -> Vec<(String, WeightBytes)> {
        let named = |name: &String, weight: Result<WeightBytes>| Some((name.clone(), weight.ok()?));
        match &self.source {
            Source::Gguf { file, .. } => {
                file.tensors().keys().filter_map(|name| named(name, file.matrix(name))).collect()
            }
            Source::Safetensors(tensors) => {
                tensors.iter().filter_map(|(name, tensor)| named(name, tensor.matrix(name))).collect()
            }
        }
    }

    fn stored_name(&self, name: Name) -> String {
        match self.source {
            Source::Gguf { .. } => name.gguf(),
            Source::Safetensors(_) => name.hugging_face(self.config.sandwich_norms),
        }
    }

    fn find(&mut self, name: Name) -> Result<WeightBytes> {
        let stored = self.stored_name(name);
        // Asked for, whatever is wrong with it.
        self.used.insert(stored.clone());
        match &self.source {
            Source::Gguf { file, .. } => file.matrix(&stored),
            Source::Safetensors(tensors) => {
                tensors.get(&stored).ok_or_else(|| Error::tensor(&stored, "missing"))?.matrix(&stored)
            }
        }
    }
}

/// Where row `row` of the `rotate_half` order lies in the interleaved order: inside a head,
/// row `s * head_dim/2 + i` comes from row `2i + s`. Source: `permute` in llama.cpp's `convert_hf_to_gguf.py`.
fn interleaved_row(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    let (s, i) = (within / (head_dim / 2), within % (head_dim / 2));
    head * head_dim + 2 * i + s
}

/// The same matrix with its rows in `rotate_half` order, in memory of its own: of a base of 7 billion weights in Q4_K,
/// q and k take 0.38 GB with 8 key-value heads and 0.60 GB with 32.
fn rotate_half_rows(weight: &WeightBytes, head_dim: usize) -> WeightBytes {
    let old = weight.bytes();
    let row_bytes = old.len() / weight.rows;
    let mut new = Vec::with_capacity(old.len());
    for row in 0..weight.rows {
        let from = interleaved_row(row, head_dim) * row_bytes;
        new.extend_from_slice(&old[from..from + row_bytes]);
    }
    let range = 0..new.len();
    WeightBytes::new(weight.dtype, weight.rows, weight.cols, Arc::new(new), range)
}

/// Numbers of a small tensor in a plain form.
pub(crate) fn to_f32(weight: &WeightBytes) -> std::result::Result<Vec<f32>, String> {
    let bytes = weight.bytes();
    match weight.dtype {
        WeightDtype::F32 => Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        WeightDtype::F16 => {
            Ok(bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect())
        }
        WeightDtype::Bf16 => {
            Ok(bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect())
        }
        other => Err(format!("type {other:?} is not supported here, only F32, F16 and BF16")),
    }
}
