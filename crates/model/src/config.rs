//! The architecture's numbers, read from a Hugging Face `config.json`.
//!
//! Every supported architecture is a configuration of one decoder: `family` says how each differs from a plain
//! Llama. Whatever changes the computation and is not supported here is an error that names the field and its
//! value; fields that change nothing (dropout, cache and token id settings) are not looked at.

mod family;
mod fields;
mod module;

use std::path::Path;

use hearth_kernels::backend::Activation;
use serde_json::Value;

pub(crate) use self::module::Group;
pub use self::module::Module;

use self::family::Family;
use self::fields::Fields;
use crate::error::{Error, Result, read_json};
use crate::rope::Rope;

/// What may differ from block to block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerPlan {
    /// Which of [`ModelConfig::ropes`] rotates queries and keys; none leaves them as they are.
    pub rope: Option<usize>,
    /// How many keys a query sees, its own included; all earlier ones when absent.
    pub window: Option<usize>,
}

/// A decoder: blocks of grouped-query attention and a gated MLP, each behind an RMSNorm.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The family's name in `config.json`, for example `llama` or `gemma3_text`.
    pub model_type: String,
    /// Width C of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Decoder blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f32,
    /// The rotary embeddings that blocks choose from: one, or a global and a local one.
    pub ropes: Vec<Rope>,
    /// One entry per block.
    pub layers: Vec<LayerPlan>,
    /// Whether the output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Rows V of the embedding table.
    pub vocab_size: usize,
    /// Longest sequence that the model was made for.
    pub max_position_embeddings: usize,
    /// Which linears have a frozen bias, by [`Module`].
    pub bias: [bool; Module::COUNT],
    /// Whether q, k and v are one linear, and gate and up another.
    pub fused: bool,
    /// Whether every head of q and k goes through an RMSNorm before the rotation.
    pub qk_norm: bool,
    /// Whether the outputs of attention and of the MLP go through an RMSNorm before they are added.
    pub sandwich_norms: bool,
    /// Whether Hugging Face files hold the weights of the norms less one.
    pub norm_offset: bool,
    /// The function on the MLP's gate.
    pub activation: Activation,
    /// Factor on attention's scores.
    pub attention_scale: f32,
    /// Bound c of attention's scores, which become `c * tanh(s / c)`.
    pub attention_softcap: Option<f32>,
    /// The same for the logits.
    pub final_softcap: Option<f32>,
    /// Factor on the embeddings.
    pub embed_scale: f32,
}

/// No dimension of a supported model is larger, heads together included. With [`MAX_LAYERS`] it keeps all products
/// and the count of weights inside 64 bits.
const MAX_DIMENSION: u64 = 1 << 24;
/// No supported model has more blocks.
const MAX_LAYERS: u64 = 1 << 12;

impl ModelConfig {
    /// Reads `config.json` of a model directory.
    pub fn read(model_dir: &Path) -> Result<Self> {
        Self::parse(&read_json(&model_dir.join("config.json"))?)
    }

    /// Checks and types the value of a `config.json`.
    pub fn parse(json: &Value) -> Result<Self> {
        let fields = Fields { json };
        let family = Family::of(&fields)?;
        match family.activation {
            Activation::Silu => fields.expect("hidden_act", "\"silu\"", |v| v == "silu")?,
            Activation::GeluTanh => {
                fields.expect("hidden_activation", "\"gelu_pytorch_tanh\"", |v| v == "gelu_pytorch_tanh")?
            }
        }
        fields.expect("partial_rotary_factor", "1", |v| v.as_f64() == Some(1.0))?;
        fields.expect("quantization_config", "null", Value::is_null)?;
        let hidden_size = fields.dimension("hidden_size")?;
        let num_attention_heads = fields.dimension("num_attention_heads")?;
        let num_key_value_heads = key_value_heads(&fields, num_attention_heads)?;
        let head_dim = head_dim(&fields, hidden_size, num_attention_heads)?;
        let max_position_embeddings = fields.dimension("max_position_embeddings")?;
        let num_hidden_layers = fields.layers()?;
        let mut config = Self {
            model_type: family.model_type.to_owned(),
            hidden_size,
            intermediate_size: fields.dimension("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            rms_norm_eps: fields.rms_norm_eps()?,
            ropes: vec![Rope::parse(json, family.rope_theta, max_position_embeddings)?],
            layers: vec![LayerPlan { rope: Some(0), window: None }; num_hidden_layers],
            tie_word_embeddings: fields.flag_or("tie_word_embeddings", family.tied)?,
            vocab_size: fields.dimension("vocab_size")?,
            max_position_embeddings,
            bias: [false; Module::COUNT],
            fused: false,
            qk_norm: false,
            sandwich_norms: false,
            norm_offset: false,
            activation: family.activation,
            attention_scale: (1.0 / (head_dim as f64).sqrt()) as f32,
            attention_softcap: None,
            final_softcap: None,
            embed_scale: 1.0,
        };
        (family.apply)(&fields, &mut config)?;
        Ok(config)
    }

    /// Width of the queries: `n_heads * head_dim`.
    pub fn q_dim(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of the keys and of the values: `n_kv_heads * head_dim`.
    pub fn kv_dim(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// `(N, K)` of a linear's weight.
    pub fn shape(&self, module: Module) -> (usize, usize) {
        let (c, i) = (self.hidden_size, self.intermediate_size);
        match module {
            Module::Q => (self.q_dim(), c),
            Module::K | Module::V => (self.kv_dim(), c),
            Module::O => (c, self.q_dim()),
            Module::Gate | Module::Up => (i, c),
            Module::Down => (c, i),
            Module::Qkv => (self.q_dim() + 2 * self.kv_dim(), c),
            Module::GateUp => (2 * i, c),
        }
    }

    /// The linears of a block, all of which an adapter can attach to, in order of execution.
    pub fn linears(&self) -> &'static [Module] {
        if self.fused { &Module::FUSED } else { &Module::ALL }
    }

    /// Those of them that have one of these names in PEFT. One that stores several linears as one has the names of all.
    pub fn linears_named(&self, names: &[String]) -> Vec<Module> {
        let is_named = |part: &Module| names.iter().any(|name| name == part.name());
        let parts_named = |module: &Module| module.parts().iter().any(is_named);
        self.linears().iter().copied().filter(|module| is_named(module) || parts_named(module)).collect()
    }

    /// Numbers of an adapter: `r * (N + K)` of each linear that it adapts, in every block.
    pub fn adapter_len(&self, lora: &crate::lora::LoraConfig) -> usize {
        let of = |&module: &Module| {
            let (n, k) = self.shape(module);
            lora.r * (n + k)
        };
        self.num_hidden_layers * lora.target_modules.iter().map(of).sum::<usize>()
    }

    /// The linears of a group.
    pub(crate) fn modules(&self, group: Group) -> &'static [Module] {
        group.modules(self.fused)
    }

    /// Widths of the outputs of a group: what its linears give, or what its fused linear gives side by side.
    pub(crate) fn parts(&self, group: Group) -> Vec<usize> {
        group.modules(false).iter().map(|&m| self.shape(m).0).collect()
    }

    /// Number of weights of the base, the output head counted once when it is tied.
    pub fn parameter_count(&self) -> u64 {
        let size = |(n, k): (usize, usize)| n as u64 * k as u64;
        let c = self.hidden_size as u64;
        let linears: u64 = self
            .linears()
            .iter()
            .map(|&m| {
                let shape = self.shape(m);
                size(shape) + if self.bias[m as usize] { shape.0 as u64 } else { 0 }
            })
            .sum();
        let norms = c * if self.sandwich_norms { 4 } else { 2 }
            + if self.qk_norm { 2 * self.head_dim as u64 } else { 0 };
        let tables = size((self.vocab_size, self.hidden_size)) * if self.tie_word_embeddings { 1 } else { 2 };
        tables + c + self.num_hidden_layers as u64 * (linears + norms)
    }
}

fn key_value_heads(fields: &Fields<'_>, heads: usize) -> Result<usize> {
    const FIELD: &str = "num_key_value_heads";
    let found = fields.optional_dimension(FIELD)?.unwrap_or(heads);
    if heads.is_multiple_of(found) {
        return Ok(found);
    }
    Err(Error::config(FIELD, format!("{found} does not divide num_attention_heads {heads}")))
}

fn head_dim(fields: &Fields<'_>, hidden_size: usize, heads: usize) -> Result<usize> {
    const FIELD: &str = "head_dim";
    let head_dim = match fields.optional_dimension(FIELD)? {
        Some(d) => d,
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            let reason = format!("missing, and hidden_size {hidden_size} is no multiple of {heads} heads");
            return Err(Error::config(FIELD, reason));
        }
    };
    if (heads * head_dim) as u64 > MAX_DIMENSION {
        let reason = format!("{head_dim} times {heads} heads is more than {MAX_DIMENSION}");
        return Err(Error::config(FIELD, reason));
    }
    if !head_dim.is_multiple_of(2) {
        let reason = format!("{head_dim} is odd; rotary embedding needs pairs");
        return Err(Error::config(FIELD, reason));
    }
    Ok(head_dim)
}

#[cfg(test)]
mod tests;
