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

/// Makes the Hugging Face form of a file's metadata. Architectures: `llama` (with the Mistral models that
/// use it) and `qwen2`. Rotary factors stored as a tensor are applied when the weights are loaded and do
/// not appear in the configuration.
pub fn from_gguf(file: &Gguf) -> Result<Converted> {
    let tokenizer = tokenizer(file)?;
    let config = config(file, &tokenizer)?;
    let owned = |key| Ok::<_, Error>(file.str(key)?.map(str::to_owned));
    Ok(Converted { config, tokenizer, name: owned("general.name")?, license: owned("general.license")? })
}

fn config(file: &Gguf, tokenizer: &GgufTokenizerMeta) -> Result<Json> {
    let arch = file.str("general.architecture")?.unwrap_or_default();
    let (class, model_type) = match arch {
        "llama" => ("LlamaForCausalLM", "llama"),
        "qwen2" => ("Qwen2ForCausalLM", "qwen2"),
        other => {
            return Err(Error::Gguf(format!(
                "architecture {other:?} is not supported, only \"llama\" and \"qwen2\""
            )));
        }
    };
    let key = |field: &str| format!("{arch}.{field}");
    let optional = |field: &str| file.uint(&key(field));
    let required = |field: &str| {
        optional(field)?.ok_or_else(|| Error::Gguf(format!("metadata key {:?} is missing", key(field))))
    };
    for field in ["expert_count", "attention.sliding_window"] {
        if let Some(n @ 1..) = optional(field)? {
            return Err(Error::Gguf(format!("{} = {n} is not supported", key(field))));
        }
    }
    let hidden = required("embedding_length")?;
    let heads = required("attention.head_count")?;
    let even = hidden.checked_div(heads).filter(|d| d.checked_mul(heads) == Some(hidden));
    let head_dim = optional("attention.key_length")?.or(even).ok_or_else(|| {
        Error::Gguf(format!(
            "embedding length {hidden} is no multiple of {heads} heads, and no key length is given"
        ))
    })?;
    for field in ["attention.value_length", "rope.dimension_count"] {
        if let Some(n) = optional(field)?.filter(|n| *n != head_dim) {
            return Err(Error::Gguf(format!("{} = {n} differs from the head width {head_dim}", key(field))));
        }
    }
    let eps = file.float(&key("attention.layer_norm_rms_epsilon"))?;
    let has = |name: Name| file.tensors().contains_key(&name.gguf());
    let embed = file.matrix(&Name::Embed.gguf())?;
    let mut config = json!({
        "architectures": [class],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": required("feed_forward_length")?,
        "num_hidden_layers": required("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": optional("attention.head_count_kv")?.unwrap_or(heads),
        "head_dim": head_dim,
        // Stored as f32: printed in its shortest form, 1e-5 stays 1e-5.
        "rms_norm_eps": shortest(eps.ok_or_else(|| Error::Gguf(format!("{:?} is missing", key("attention.layer_norm_rms_epsilon"))))?),
        "rope_theta": shortest(file.float(&key("rope.freq_base"))?.unwrap_or(10_000.0)),
        "rope_scaling": rope_scaling(file, &key)?,
        "tie_word_embeddings": !has(Name::Head),
        "vocab_size": embed.rows,
        "max_position_embeddings": required("context_length")?,
        "attention_dropout": 0.0,
        "torch_dtype": "bfloat16",
    });
    if model_type == "llama" {
        config["attention_bias"] = json!(has(Name::Bias(0, Module::Q)));
        config["mlp_bias"] = json!(has(Name::Bias(0, Module::Gate)));
    }
    for (field, id) in [
        ("bos_token_id", tokenizer.bos_token_id),
        ("eos_token_id", tokenizer.eos_token_id),
        ("pad_token_id", tokenizer.pad_token_id),
    ] {
        config[field] = json!(id);
    }
    Ok(config)
}

fn rope_scaling(file: &Gguf, key: &dyn Fn(&str) -> String) -> Result<Json> {
    match file.str(&key("rope.scaling.type"))? {
        None | Some("none") => Ok(Json::Null),
        Some("linear") => {
            let factor = file.float(&key("rope.scaling.factor"))?.unwrap_or(1.0);
            Ok(json!({"rope_type": "linear", "type": "linear", "factor": shortest(factor)}))
        }
        Some(other) => Err(Error::Gguf(format!(
            "{} = {other:?} is not supported, only \"none\" and \"linear\"",
            key("rope.scaling.type")
        ))),
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
    let scores = match file.metadata().get(&key("scores")) {
        None => Vec::new(),
        Some(Value::Floats(list)) => list.clone(),
        Some(_) => return Err(wrong("scores", "a list of numbers")),
    };
    Ok(GgufTokenizerMeta {
        model: file.str(&key("model"))?.unwrap_or_default().to_owned(),
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
        chat_template: file.str("tokenizer.chat_template")?.map(str::to_owned),
    })
}
