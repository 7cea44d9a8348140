//! From the metadata of a GGUF file to what a Hugging Face model directory holds beside its weights.

use serde_json::{Value as Json, json};

use crate::config::Module;
use crate::error::{Error, Result};
use crate::gguf::{Gguf, Value};
use crate::weights::Name;

/// Tokenizer metadata of a GGUF file as plain fields; the data crate makes a `tokenizer.json` of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GgufTokenizerMeta {
    /// `tokenizer.ggml.model`: "gpt2" is byte-level BPE, "llama" SentencePiece.
    pub model: String,
    /// `general.architecture`: SentencePiece files do not say how their model treats spaces.
    pub architecture: String,
    /// `tokenizer.ggml.pre`: name of the pre-tokenizer.
    pub pre: Option<String>,
    /// Token texts by id.
    pub tokens: Vec<String>,
    /// Token kinds by id: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
    pub token_types: Vec<i64>,
    /// Scores by id (SentencePiece models).
    pub scores: Vec<f64>,
    /// BPE merges, "left right", in order of rank.
    pub merges: Vec<String>,
    /// Id of the token before a text.
    pub bos_token_id: Option<u32>,
    /// Id of the token after a text.
    pub eos_token_id: Option<u32>,
    /// Id of the padding token.
    pub pad_token_id: Option<u32>,
    /// Id of the unknown token.
    pub unk_token_id: Option<u32>,
    /// Whether the model expects the bos token in front.
    pub add_bos_token: Option<bool>,
    /// Whether the model expects the eos token at the end.
    pub add_eos_token: Option<bool>,
    /// Whether SentencePiece puts a space in front.
    pub add_space_prefix: Option<bool>,
    /// Whether SentencePiece's unigram model takes runs of spaces as one.
    pub remove_extra_whitespaces: Option<bool>,
    /// SentencePiece's rules of normalization (unigram models); empty if there are none.
    pub precompiled_charsmap: Vec<u8>,
    /// Jinja source of the chat template.
    pub chat_template: Option<String>,
}

/// What [`from_gguf`] finds.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The value of `config.json`.
    pub config: Json,
    /// What a `tokenizer.json` is made of.
    pub tokenizer: GgufTokenizerMeta,
    /// `general.name`.
    pub name: Option<String>,
    /// `general.license`.
    pub license: Option<String>,
}

/// Makes the Hugging Face form of a file's metadata, for the architectures of `ARCHITECTURES`. Rotary factors
/// stored as a tensor are applied when the weights are loaded and do not appear in the configuration.
pub fn from_gguf(file: &Gguf) -> Result<Converted> {
    let tokenizer = tokenizer(file)?;
    let config = config(file, &tokenizer)?;
    let owned = |key| Ok::<_, Error>(file.str(key)?.map(str::to_owned));
    Ok(Converted { config, tokenizer, name: owned("general.name")?, license: owned("general.license")? })
}

/// The architectures of GGUF files that are supported, with their class and type in Hugging Face's terms.
const ARCHITECTURES: [(&str, &str, &str); 7] = [
    ("llama", "LlamaForCausalLM", "llama"),
    ("qwen2", "Qwen2ForCausalLM", "qwen2"),
    ("qwen3", "Qwen3ForCausalLM", "qwen3"),
    ("smollm3", "SmolLM3ForCausalLM", "smollm3"),
    ("gemma2", "Gemma2ForCausalLM", "gemma2"),
    ("gemma3", "Gemma3ForCausalLM", "gemma3_text"),
    ("phi3", "Phi3ForCausalLM", "phi3"),
];

/// The metadata of one architecture: keys begin with its name.
struct Meta<'a> {
    file: &'a Gguf,
    arch: &'a str,
}

impl Meta<'_> {
    fn key(&self, field: &str) -> String {
        format!("{}.{field}", self.arch)
    }

    fn uint(&self, field: &str) -> Result<Option<u64>> {
        self.file.uint(&self.key(field))
    }

    fn require(&self, field: &str) -> Result<u64> {
        self.uint(field)?.ok_or_else(|| self.missing(field))
    }

    /// Stored as f32; given in its shortest form, so that 1e-5 stays 1e-5.
    fn float(&self, field: &str) -> Result<Option<f64>> {
        Ok(self.file.float(&self.key(field))?.map(shortest))
    }

    fn missing(&self, field: &str) -> Error {
        Error::Gguf(format!("metadata key {:?} is missing", self.key(field)))
    }

    fn has(&self, name: Name) -> bool {
        self.file.tensors().contains_key(&name.gguf())
    }

    fn head_dim(&self, hidden: u64, heads: u64) -> Result<u64> {
        let even = hidden.checked_div(heads).filter(|d| d.checked_mul(heads) == Some(hidden));
        let head_dim = self.uint("attention.key_length")?.or(even).ok_or_else(|| {
            Error::Gguf(format!(
                "embedding length {hidden} is no multiple of {heads} heads, and no key length is given"
            ))
        })?;
        for field in ["attention.value_length", "rope.dimension_count"] {
            if let Some(n) = self.uint(field)?.filter(|n| *n != head_dim) {
                let key = self.key(field);
                return Err(Error::Gguf(format!("{key} = {n} differs from the head width {head_dim}")));
            }
        }
        Ok(head_dim)
    }

    fn rope_scaling(&self) -> Result<Json> {
        const FIELD: &str = "rope.scaling.type";
        for tensor in LONG_ROPE_FACTORS {
            if self.file.tensors().contains_key(tensor) {
                return Err(Error::tensor(
                    tensor,
                    "rotary factors of the kind \"longrope\" are not supported",
                ));
            }
        }
        match self.file.str(&self.key(FIELD))? {
            None | Some("none") => Ok(Json::Null),
            Some("linear") => {
                let factor = self.float("rope.scaling.factor")?.unwrap_or(1.0);
                Ok(json!({"rope_type": "linear", "type": "linear", "factor": factor}))
            }
            Some(other) => Err(Error::Gguf(format!(
                "{} = {other:?} is not supported, only \"none\" and \"linear\"",
                self.key(FIELD)
            ))),
        }
    }
}

/// Tensors of Phi-3 files for long contexts.
const LONG_ROPE_FACTORS: [&str; 2] = ["rope_factors_long.weight", "rope_factors_short.weight"];

fn config(file: &Gguf, tokenizer: &GgufTokenizerMeta) -> Result<Json> {
    let arch = file.str("general.architecture")?.unwrap_or_default();
    let Some((_, class, model_type)) = ARCHITECTURES.into_iter().find(|(name, ..)| *name == arch) else {
        let known = ARCHITECTURES.map(|(name, ..)| format!("{name:?}")).join(", ");
        return Err(Error::Gguf(format!("architecture {arch:?} is not supported; supported are {known}")));
    };
    let meta = Meta { file, arch };
    if let Some(n @ 1..) = meta.uint("expert_count")? {
        return Err(Error::Gguf(format!("{} = {n} is not supported", meta.key("expert_count"))));
    }
    let hidden = meta.require("embedding_length")?;
    let heads = meta.require("attention.head_count")?;
    let eps = "attention.layer_norm_rms_epsilon";
    let mut config = json!({
        "architectures": [class],
        "model_type": model_type,
        "hidden_size": hidden,
        "intermediate_size": meta.require("feed_forward_length")?,
        "num_hidden_layers": meta.require("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": meta.uint("attention.head_count_kv")?.unwrap_or(heads),
        "head_dim": meta.head_dim(hidden, heads)?,
        "rms_norm_eps": meta.float(eps)?.ok_or_else(|| meta.missing(eps))?,
        "rope_theta": meta.float("rope.freq_base")?.unwrap_or(10_000.0),
        "rope_scaling": meta.rope_scaling()?,
        "tie_word_embeddings": !meta.has(Name::Head),
        "vocab_size": file.matrix(&Name::Embed.gguf())?.rows,
        "max_position_embeddings": meta.require("context_length")?,
        "attention_dropout": 0.0,
        "torch_dtype": "bfloat16",
    });
    family(&meta, model_type, &mut config)?;
    for (field, id) in [
        ("bos_token_id", tokenizer.bos_token_id),
        ("eos_token_id", tokenizer.eos_token_id),
        ("pad_token_id", tokenizer.pad_token_id),
    ] {
        config[field] = json!(id);
    }
    Ok(config)
}

/// What only some architectures have.
fn family(meta: &Meta<'_>, model_type: &str, config: &mut Json) -> Result<()> {
    let gemma = model_type.starts_with("gemma");
    config[if gemma { "hidden_activation" } else { "hidden_act" }] =
        json!(if gemma { "gelu_pytorch_tanh" } else { "silu" });
    let window = meta.uint("attention.sliding_window")?.filter(|n| *n > 0);
    match model_type {
        "gemma2" | "gemma3_text" => {
            config["attention_bias"] = json!(meta.has(Name::Bias(0, Module::Q)));
            config["sliding_window"] = json!(window);
            config["query_pre_attn_scalar"] = json!(gemma_scalar(model_type, config));
            let cap = |field| meta.float(field);
            config["attn_logit_softcapping"] = json!(cap("attn_logit_softcapping")?);
            config["final_logit_softcapping"] = json!(cap("final_logit_softcapping")?);
        }
        "phi3" => config["sliding_window"] = json!(window),
        // Mistral's models come as this architecture.
        "llama" if window.is_some() => {
            config["architectures"] = json!(["MistralForCausalLM"]);
            config["model_type"] = json!("mistral");
            config["sliding_window"] = json!(window);
        }
        _ if window.is_some() => {
            let key = meta.key("attention.sliding_window");
            return Err(Error::Gguf(format!("{key} is not supported for this architecture")));
        }
        "qwen3" => config["attention_bias"] = json!(meta.has(Name::Bias(0, Module::Q))),
        "llama" | "smollm3" => {
            config["attention_bias"] = json!(meta.has(Name::Bias(0, Module::Q)));
            config["mlp_bias"] = json!(meta.has(Name::Bias(0, Module::Gate)));
        }
        _ => {}
    }
    if model_type == "gemma3_text" {
        config["sliding_window_pattern"] = json!(meta.uint("attention.sliding_window_pattern")?.unwrap_or(6));
        config["rope_local_base_freq"] = json!(meta.float("rope.freq_base_swa")?.unwrap_or(10_000.0));
    }
    Ok(())
}

/// Files do not store Gemma's `query_pre_attn_scalar`. It is the head's width, but for the largest models, which are
/// known by their number of blocks: there it is the hidden size over the heads.
fn gemma_scalar(model_type: &str, config: &Json) -> Option<u64> {
    let number = |field: &str| config[field].as_u64();
    let largest = if model_type == "gemma2" { 46 } else { 62 };
    match number("num_hidden_layers") {
        Some(n) if n == largest => number("hidden_size")?.checked_div(number("num_attention_heads")?),
        _ => number("head_dim"),
    }
}

/// The shortest decimal that gives the same f32.
fn shortest(x: f64) -> f64 {
    let narrow = x as f32;
    if f64::from(narrow) == x { narrow.to_string().parse().unwrap_or(x) } else { x }
}

fn tokenizer(file: &Gguf) -> Result<GgufTokenizerMeta> {
    let key = |field: &str| format!("tokenizer.ggml.{field}");
    let strs = |field: &str| Ok::<_, Error>(file.strs(&key(field))?.unwrap_or_default().to_vec());
    let wrong =
        |field: &str, expected: &str| Error::Gguf(format!("metadata key {:?} is not {expected}", key(field)));
    let id = |field: &str| match file.uint(&key(field))? {
        None => Ok(None),
        Some(id) => u32::try_from(id).map(Some).map_err(|_| wrong(field, "a token id")),
    };
    let token_types = match file.metadata().get(&key("token_type")) {
        None => Vec::new(),
        Some(Value::Ints(list)) => list.clone(),
        Some(Value::Uints(list)) => list.iter().map(|&n| n as i64).collect(),
        Some(_) => return Err(wrong("token_type", "a list of whole numbers")),
    };
    let precompiled_charsmap = match file.metadata().get(&key("precompiled_charsmap")) {
        None => Vec::new(),
        // Bytes; some writers say that they have a sign.
        Some(Value::Ints(list)) => list.iter().map(|&n| n as u8).collect(),
        Some(Value::Uints(list)) => list.iter().map(|&n| n as u8).collect(),
        Some(_) => return Err(wrong("precompiled_charsmap", "a list of bytes")),
    };
    let scores = match file.metadata().get(&key("scores")) {
        None => Vec::new(),
        Some(Value::Floats(list)) => list.clone(),
        Some(_) => return Err(wrong("scores", "a list of numbers")),
    };
    Ok(GgufTokenizerMeta {
        model: file.str(&key("model"))?.unwrap_or_default().to_owned(),
        architecture: file.str("general.architecture")?.unwrap_or_default().to_owned(),
        pre: file.str(&key("pre"))?.map(str::to_owned),
        tokens: strs("tokens")?,
        token_types,
        scores,
        merges: strs("merges")?,
        bos_token_id: id("bos_token_id")?,
        eos_token_id: id("eos_token_id")?,
        pad_token_id: id("padding_token_id")?,
        unk_token_id: id("unknown_token_id")?,
        add_bos_token: file.bool(&key("add_bos_token"))?,
        add_eos_token: file.bool(&key("add_eos_token"))?,
        add_space_prefix: file.bool(&key("add_space_prefix"))?,
        remove_extra_whitespaces: file.bool(&key("remove_extra_whitespaces"))?,
        precompiled_charsmap,
        chat_template: file.str("tokenizer.chat_template")?.map(str::to_owned),
    })
}
