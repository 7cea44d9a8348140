//! The supported architectures: how each differs from a plain Llama.
//!
//! A family is data and one function that changes a Llama-shaped configuration. Where a field may be absent, the
//! value is that of the family's class in transformers (`configuration_*.py`).

use hearth_kernels::backend::Activation;

use super::fields::Fields;
use super::{LayerPlan, ModelConfig, Module};
use crate::error::{Error, Result};
use crate::rope::{Rope, RopeScaling};

/// One architecture, by the name that `architectures` of `config.json` has.
pub(super) struct Family {
    pub(super) class: &'static str,
    pub(super) model_type: &'static str,
    /// Whether the head is the embedding table when the file does not say.
    pub(super) tied: bool,
    /// Base of the rotary frequencies when the file does not say.
    pub(super) rope_theta: f64,
    pub(super) activation: Activation,
    /// Makes the family's configuration of a Llama's.
    pub(super) apply: fn(&Fields<'_>, &mut ModelConfig) -> Result<()>,
}

const LLAMA: Family = Family {
    class: "LlamaForCausalLM",
    model_type: "llama",
    tied: false,
    rope_theta: 10_000.0,
    activation: Activation::Silu,
    apply: llama,
};

const FAMILIES: [Family; 8] = [
    LLAMA,
    Family { class: "MistralForCausalLM", model_type: "mistral", apply: mistral, ..LLAMA },
    Family { class: "Qwen2ForCausalLM", model_type: "qwen2", apply: qwen2, ..LLAMA },
    Family { class: "Qwen3ForCausalLM", model_type: "qwen3", apply: qwen3, ..LLAMA },
    Family {
        class: "SmolLM3ForCausalLM",
        model_type: "smollm3",
        tied: true,
        rope_theta: 2_000_000.0,
        apply: smollm3,
        ..LLAMA
    },
    Family {
        class: "Gemma2ForCausalLM",
        model_type: "gemma2",
        tied: true,
        activation: Activation::GeluTanh,
        apply: gemma2,
        ..LLAMA
    },
    Family {
        class: "Gemma3ForCausalLM",
        model_type: "gemma3_text",
        tied: true,
        rope_theta: 1_000_000.0,
        activation: Activation::GeluTanh,
        apply: gemma3,
    },
    Family { class: "Phi3ForCausalLM", model_type: "phi3", apply: phi3, ..LLAMA },
];

impl Family {
    /// The family of `architectures`; anything else is refused with the list of what there is.
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self> {
        const FIELD: &str = "architectures";
        let names = &fields.json[FIELD];
        let name = match names.as_array().map(Vec::as_slice) {
            Some([name]) => name.as_str(),
            _ if names.is_null() => {
                return Err(Error::config(FIELD, "missing; expected for example [\"LlamaForCausalLM\"]"));
            }
            _ => None,
        };
        let name = name.ok_or_else(|| Error::config(FIELD, format!("expected one name, found {names}")))?;
        let known = FAMILIES.map(|family| family.class).join(", ");
        FAMILIES
            .into_iter()
            .find(|family| family.class == name)
            .ok_or_else(|| Error::config(FIELD, format!("{name} is not supported; supported are {known}")))
    }
}

fn llama(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    attention_bias(fields, config)?;
    for m in [Module::Gate, Module::Up, Module::Down] {
        config.bias[m as usize] = fields.flag("mlp_bias")?;
    }
    Ok(())
}

fn attention_bias(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    for m in [Module::Q, Module::K, Module::V, Module::O] {
        config.bias[m as usize] = fields.flag("attention_bias")?;
    }
    Ok(())
}

fn mistral(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    // The class has a default of its own.
    fields.present("num_key_value_heads")?;
    let window = fields.window("sliding_window", Some(4096))?;
    config.layers.iter_mut().for_each(|layer| layer.window = window);
    Ok(())
}

/// The later blocks of Qwen models may attend in a window; in published ones none does.
fn qwen_windows(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    if !fields.flag("use_sliding_window")? {
        return Ok(());
    }
    let window = fields.window("sliding_window", Some(4096))?;
    let first = match &fields.json["max_window_layers"] {
        value if value.is_null() => 28,
        value => value.as_u64().ok_or_else(|| {
            Error::config("max_window_layers", format!("expected a whole number, found {value}"))
        })?,
    };
    let sliding = fields.sliding(config.layers.len(), |l| window.is_some() && l as u64 >= first)?;
    set_windows(config, &sliding, window);
    Ok(())
}

fn set_windows(config: &mut ModelConfig, sliding: &[bool], window: Option<usize>) {
    for (layer, &sliding) in config.layers.iter_mut().zip(sliding) {
        layer.window = window.filter(|_| sliding);
    }
}

fn qwen2(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    for m in [Module::Q, Module::K, Module::V] {
        config.bias[m as usize] = true;
    }
    qwen_windows(fields, config)
}

fn qwen3(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    // The class has a default of its own, which would not be the hidden size over the heads.
    fields.present("head_dim")?;
    config.qk_norm = true;
    attention_bias(fields, config)?;
    qwen_windows(fields, config)
}

fn smollm3(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    const FIELD: &str = "no_rope_layers";
    llama(fields, config)?;
    // Despite its name, the list has 1 for a block with rotary embedding.
    let rotates: Vec<bool> = match fields.per_layer(FIELD, config.layers.len())? {
        Some(list) => list
            .iter()
            .map(|flag| match flag.as_u64() {
                Some(flag @ 0..=1) => Ok(flag == 1),
                _ => Err(Error::config(FIELD, format!("expected 0 or 1, found {flag}"))),
            })
            .collect::<Result<_>>()?,
        None => {
            let interval = fields.optional_dimension("no_rope_layer_interval")?.unwrap_or(4);
            (1..=config.layers.len()).map(|n| !n.is_multiple_of(interval)).collect()
        }
    };
    for (layer, &rotates) in config.layers.iter_mut().zip(&rotates) {
        layer.rope = layer.rope.filter(|_| rotates);
    }
    if fields.flag("use_sliding_window")? {
        let window = fields.window("sliding_window", None)?;
        let sliding = fields.sliding(rotates.len(), |l| window.is_some() && !rotates[l])?;
        set_windows(config, &sliding, window);
    }
    Ok(())
}

/// What Gemma 2 and 3 share. `attention_cap`, `final_cap`: the soft-caps when the file does not say.
fn gemma(
    fields: &Fields<'_>,
    config: &mut ModelConfig,
    attention_cap: Option<f64>,
    final_cap: Option<f64>,
) -> Result<()> {
    // The classes have defaults of their own for these.
    fields.present("head_dim")?;
    fields.present("num_key_value_heads")?;
    fields.expect("use_bidirectional_attention", "false", |v| v == false)?;
    attention_bias(fields, config)?;
    config.sandwich_norms = true;
    config.norm_offset = true;
    // torch takes the root in f64 and multiplies in the weights' type, f32 here.
    config.embed_scale = (config.hidden_size as f64).sqrt() as f32;
    let scalar = fields.positive("query_pre_attn_scalar", Some(256.0))?;
    let scalar = scalar.ok_or_else(|| Error::config("query_pre_attn_scalar", "null"))?;
    config.attention_scale = scalar.powf(-0.5) as f32;
    let cap = |field, absent| Ok::<_, Error>(fields.positive(field, absent)?.map(|cap| cap as f32));
    config.attention_softcap = cap("attn_logit_softcapping", attention_cap)?;
    config.final_softcap = cap("final_logit_softcapping", final_cap)?;
    Ok(())
}

fn gemma2(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    gemma(fields, config, Some(50.0), Some(30.0))?;
    let sliding = fields.sliding(config.layers.len(), |l| l.is_multiple_of(2))?;
    set_windows(config, &sliding, fields.window("sliding_window", Some(4096))?);
    Ok(())
}

fn gemma3(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    gemma(fields, config, None, None)?;
    config.qk_norm = true;
    let pattern = fields.optional_dimension("sliding_window_pattern")?.unwrap_or(6);
    let sliding = fields.sliding(config.layers.len(), |l| !(l + 1).is_multiple_of(pattern))?;
    let window = fields.window("sliding_window", Some(4096))?;
    let local = Rope::parse_local(fields.json, config.max_position_embeddings)?;
    config.ropes.push(local.unwrap_or(Rope { theta: 10_000.0, scaling: RopeScaling::Default }));
    for (layer, &sliding) in config.layers.iter_mut().zip(&sliding) {
        *layer = LayerPlan { rope: Some(usize::from(sliding)), window: window.filter(|_| sliding) };
    }
    Ok(())
}

fn phi3(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    config.fused = true;
    let window = fields.window("sliding_window", None)?;
    config.layers.iter_mut().for_each(|layer| layer.window = window);
    Ok(())
}
