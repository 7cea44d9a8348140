//! The architecture's numbers, read from a Hugging Face `config.json`.
//!
//! Whatever changes the computation and is not supported here is an error that names the field and its
//! value; fields that change nothing (dropout, cache and token id settings) are not looked at.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result, read_json};
use crate::rope::{RopeScaling, parse_rope};

/// The seven linear layers of a decoder block, in order of execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Module {
    /// Query projection, `[n_heads * head_dim, hidden]`.
    Q,
    /// Key projection, `[n_kv_heads * head_dim, hidden]`.
    K,
    /// Value projection, `[n_kv_heads * head_dim, hidden]`.
    V,
    /// Attention output projection, `[hidden, n_heads * head_dim]`.
    O,
    /// MLP gate, `[intermediate, hidden]`.
    Gate,
    /// MLP up projection, `[intermediate, hidden]`.
    Up,
    /// MLP down projection, `[hidden, intermediate]`.
    Down,
}

impl Module {
    /// All seven, in order of execution.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The name that Hugging Face and PEFT use, for example `q_proj`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// The module of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// `self_attn` or `mlp`.
    pub fn parent(self) -> &'static str {
        match self {
            Self::Q | Self::K | Self::V | Self::O => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        }
    }
}

/// Linears of a block that share their input, and so are one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Group {
    /// q, k, v of the attention norm's output.
    Qkv,
    /// Attention's output projection.
    O,
    /// Gate and up of the MLP norm's output.
    GateUp,
    /// The MLP's output projection.
    Down,
}

impl Group {
    /// All four, in order of execution.
    pub(crate) const ALL: [Self; 4] = [Self::Qkv, Self::O, Self::GateUp, Self::Down];

    /// Its linears.
    pub(crate) fn modules(self) -> &'static [Module] {
        match self {
            Self::Qkv => &[Module::Q, Module::K, Module::V],
            Self::O => &[Module::O],
            Self::GateUp => &[Module::Gate, Module::Up],
            Self::Down => &[Module::Down],
        }
    }
}

/// A Llama-family decoder: pre-norm blocks of grouped-query attention with RoPE and a SwiGLU MLP.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// `model_type` of `config.json`: `llama`, `mistral` or `qwen2`.
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
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are changed for longer contexts.
    pub rope_scaling: RopeScaling,
    /// Whether the output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Rows V of the embedding table.
    pub vocab_size: usize,
    /// Longest sequence that the model was made for.
    pub max_position_embeddings: usize,
    /// Which linears have a frozen bias, by [`Module`].
    pub bias: [bool; 7],
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
        let (model_type, bias) = architecture(&fields)?;
        fields.expect("hidden_act", "\"silu\"", |v| v == "silu")?;
        fields.expect("partial_rotary_factor", "1", |v| v.as_f64() == Some(1.0))?;
        fields.expect("quantization_config", "null", Value::is_null)?;
        let hidden_size = fields.dimension("hidden_size")?;
        let num_attention_heads = fields.dimension("num_attention_heads")?;
        let num_key_value_heads =
            fields.optional_dimension("num_key_value_heads")?.unwrap_or(num_attention_heads);
        if !num_attention_heads.is_multiple_of(num_key_value_heads) {
            return Err(Error::config(
                "num_key_value_heads",
                format!("{num_key_value_heads} does not divide num_attention_heads {num_attention_heads}"),
            ));
        }
        let head_dim = match fields.optional_dimension("head_dim")? {
            Some(d) => d,
            None if hidden_size.is_multiple_of(num_attention_heads) => hidden_size / num_attention_heads,
            None => {
                return Err(Error::config(
                    "head_dim",
                    format!(
                        "missing, and hidden_size {hidden_size} is no multiple of {num_attention_heads} heads"
                    ),
                ));
            }
        };
        if (num_attention_heads * head_dim) as u64 > MAX_DIMENSION {
            return Err(Error::config(
                "head_dim",
                format!("{head_dim} times {num_attention_heads} heads is more than {MAX_DIMENSION}"),
            ));
        }
        if !head_dim.is_multiple_of(2) {
            return Err(Error::config(
                "head_dim",
                format!("{head_dim} is odd; rotary embedding needs pairs"),
            ));
        }
        let max_position_embeddings = fields.dimension("max_position_embeddings")?;
        let (rope_theta, rope_scaling) = parse_rope(json, max_position_embeddings)?;
        Ok(Self {
            model_type,
            hidden_size,
            intermediate_size: fields.dimension("intermediate_size")?,
            num_hidden_layers: fields.layers()?,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            rms_norm_eps: fields.rms_norm_eps()?,
            rope_theta,
            rope_scaling,
            tie_word_embeddings: fields.flag("tie_word_embeddings")?,
            vocab_size: fields.dimension("vocab_size")?,
            max_position_embeddings,
            bias,
        })
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
        }
    }

    /// Number of weights of the base, the output head counted once when it is tied.
    pub fn parameter_count(&self) -> u64 {
        let size = |(n, k): (usize, usize)| n as u64 * k as u64;
        let c = self.hidden_size as u64;
        let block: u64 = Module::ALL
            .iter()
            .map(|&m| {
                let shape = self.shape(m);
                size(shape) + if self.bias[m as usize] { shape.0 as u64 } else { 0 }
            })
            .sum();
        let tables = size((self.vocab_size, self.hidden_size)) * if self.tie_word_embeddings { 1 } else { 2 };
        tables + c + self.num_hidden_layers as u64 * (block + 2 * c)
    }
}

/// Decides which linears have a bias, from the architecture's name.
fn architecture(fields: &Fields<'_>) -> Result<(String, [bool; 7])> {
    let name = match &fields.json["architectures"] {
        Value::Array(names) if names.len() == 1 && names[0].is_string() => {
            names[0].as_str().unwrap_or_default()
        }
        Value::Null => {
            return Err(Error::config(
                "architectures",
                "missing; expected for example [\"LlamaForCausalLM\"]",
            ));
        }
        other => return Err(Error::config("architectures", format!("expected one name, found {other}"))),
    };
    let mut bias = [false; 7];
    match name {
        "LlamaForCausalLM" => {
            bias[..4].fill(fields.flag("attention_bias")?);
            bias[4..].fill(fields.flag("mlp_bias")?);
            Ok(("llama".to_owned(), bias))
        }
        "MistralForCausalLM" => {
            fields.expect("sliding_window", "null", Value::is_null)?;
            Ok(("mistral".to_owned(), bias))
        }
        "Qwen2ForCausalLM" => {
            if fields.flag("use_sliding_window")? {
                return Err(Error::config("use_sliding_window", "true is not supported"));
            }
            bias[..3].fill(true);
            Ok(("qwen2".to_owned(), bias))
        }
        _ => Err(Error::config(
            "architectures",
            format!(
                "{name} is not supported; supported are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM"
            ),
        )),
    }
}

struct Fields<'a> {
    json: &'a Value,
}

impl Fields<'_> {
    fn optional_dimension(&self, field: &str) -> Result<Option<usize>> {
        let value = &self.json[field];
        if value.is_null() {
            return Ok(None);
        }
        match value.as_u64() {
            Some(n @ 1..=MAX_DIMENSION) => Ok(Some(n as usize)),
            _ => Err(Error::config(
                field,
                format!("expected a whole number from 1 to {MAX_DIMENSION}, found {value}"),
            )),
        }
    }

    fn layers(&self) -> Result<usize> {
        const FIELD: &str = "num_hidden_layers";
        match self.dimension(FIELD)? {
            n if n as u64 <= MAX_LAYERS => Ok(n),
            n => Err(Error::config(FIELD, format!("{n} is more than {MAX_LAYERS}"))),
        }
    }

    fn dimension(&self, field: &str) -> Result<usize> {
        self.optional_dimension(field)?.ok_or_else(|| Error::config(field, "missing"))
    }

    fn flag(&self, field: &str) -> Result<bool> {
        match &self.json[field] {
            Value::Null => Ok(false),
            Value::Bool(b) => Ok(*b),
            other => Err(Error::config(field, format!("expected true or false, found {other}"))),
        }
    }

    fn rms_norm_eps(&self) -> Result<f32> {
        let value = &self.json["rms_norm_eps"];
        match value.as_f64() {
            Some(eps) if eps > 0.0 && eps < 1.0 => Ok(eps as f32),
            _ if value.is_null() => Err(Error::config("rms_norm_eps", "missing")),
            _ => Err(Error::config(
                "rms_norm_eps",
                format!("expected a number between 0 and 1, found {value}"),
            )),
        }
    }

    /// A field that may be absent or null, and otherwise has only one supported value.
    fn expect(&self, field: &str, supported: &str, ok: impl Fn(&Value) -> bool) -> Result<()> {
        let value = &self.json[field];
        if value.is_null() || ok(value) {
            return Ok(());
        }
        Err(Error::config(field, format!("{value} is not supported, only {supported}")))
    }
}

#[cfg(test)]
mod tests;
