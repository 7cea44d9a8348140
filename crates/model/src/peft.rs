//! Adapters in PEFT's form: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use ::safetensors::Dtype;
use ::safetensors::tensor::{TensorView, serialize};
use hearth_kernels::backend::Backend;
use serde_json::{Value, json};

use crate::config::Module;
use crate::decoder::Decoder;
use crate::error::{Error, Result, read_json};
use crate::lora::{Lora, LoraConfig};
use crate::safetensors::open_file;
use crate::weights::to_f32;

/// Name of an adapter's configuration.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
/// Name of an adapter's weights.
pub const ADAPTER_WEIGHTS_FILE: &str = "adapter_model.safetensors";

impl<B: Backend> Lora<B> {
    /// Writes `adapter_config.json` and `adapter_model.safetensors` (f32, tensors sorted by name) into an
    /// existing directory. The same adapter gives the same bytes.
    pub fn save_peft(&self, dir: &Path, base_model_name_or_path: &str) -> Result<()> {
        let mut text = serde_json::to_string_pretty(&adapter_config(self.config(), base_model_name_or_path))
            .unwrap_or_else(|e| unreachable!("plain values always serialise: {e}"));
        text.push('\n');
        let config_path = dir.join(ADAPTER_CONFIG_FILE);
        fs::write(&config_path, text).map_err(|e| Error::io("write", &config_path, e))?;

        let path = dir.join(ADAPTER_WEIGHTS_FILE);
        let damaged =
            |e| Error::Safetensors { path: path.clone(), reason: format!("cannot be written: {e}") };
        let backend = self.tensors().backend();
        let tensors: Vec<(&str, [usize; 2], Vec<u8>)> = self
            .tensors()
            .iter()
            .map(|(name, shape, buf)| {
                let bytes = backend.download(buf).iter().flat_map(|x| x.to_le_bytes()).collect();
                (name, shape, bytes)
            })
            .collect();
        let mut views = Vec::new();
        for (name, shape, bytes) in &tensors {
            views.push((*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).map_err(damaged)?));
        }
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let bytes = serialize(views, Some(metadata)).map_err(damaged)?;
        fs::write(&path, bytes).map_err(|e| Error::io("write", &path, e))
    }

    /// Reads an adapter that PEFT or this crate wrote. Whatever would make the result differ from what the
    /// file means is refused by name: DoRA, rsLoRA, `modules_to_save`, biases, patterns, unknown, missing or
    /// wrongly shaped tensors.
    pub fn load_peft(decoder: &Decoder<B>, dir: &Path) -> Result<Self> {
        let config = parse_config(&read_json(&dir.join(ADAPTER_CONFIG_FILE))?, decoder.config().linears())?;
        let mut lora = Self::zeros(decoder, &config)?;
        let mut stored = open_file(&dir.join(ADAPTER_WEIGHTS_FILE))?;
        for (name, shape, buf) in lora.tensors_mut().iter_mut() {
            let tensor =
                stored.remove(name).ok_or_else(|| Error::tensor(name, "missing from the adapter"))?;
            if tensor.shape != shape {
                let reason = format!("shape is {:?}, base and r ask for {shape:?}", tensor.shape);
                return Err(Error::tensor(name, reason));
            }
            let values = to_f32(&tensor.matrix(name)?).map_err(|reason| Error::tensor(name, reason))?;
            if let Some(i) = values.iter().position(|x| !x.is_finite()) {
                return Err(Error::tensor(name, format!("element {i} is {}", values[i])));
            }
            decoder.backend().write(buf, &values);
        }
        match stored.keys().next() {
            Some(name) => {
                Err(Error::tensor(name, "is not a LoRA tensor of this base and these target_modules"))
            }
            None => Ok(lora),
        }
    }
}

/// All fields that PEFT's `LoraConfig` reads and whose default could change; keys are sorted.
fn adapter_config(config: &LoraConfig, base_model_name_or_path: &str) -> Value {
    let mut modules: Vec<&str> = config.target_modules.iter().map(|m| m.name()).collect();
    modules.sort_unstable();
    // PEFT writes whole numbers as such.
    let alpha = if config.alpha.fract() == 0.0 { json!(config.alpha as i64) } else { json!(config.alpha) };
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base_model_name_or_path,
        "bias": "none",
        "exclude_modules": null,
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layer_replication": null,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": alpha,
        "lora_bias": false,
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.r,
        "rank_pattern": {},
        "revision": null,
        "target_modules": modules,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    })
}

/// Fields that must be absent, null, false or empty, because anything else changes the computation.
const MUST_BE_UNSET: [&str; 19] = [
    "use_dora",
    "use_rslora",
    "use_qalora",
    "use_bdlora",
    "modules_to_save",
    "fan_in_fan_out",
    "lora_bias",
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "exclude_modules",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
];

/// `all`: what "all-linear" means for the base.
fn parse_config(json: &Value, all: &[Module]) -> Result<LoraConfig> {
    let refuse = |field: &str, supported: &str| {
        Err(Error::adapter(field, format!("{} is not supported, only {supported}", json[field])))
    };
    if !json.is_object() {
        return Err(Error::adapter("peft_type", "the file is not a JSON object"));
    }
    if json["peft_type"] != "LORA" {
        return refuse("peft_type", "\"LORA\"");
    }
    if !(json["task_type"].is_null() || json["task_type"] == "CAUSAL_LM") {
        return refuse("task_type", "\"CAUSAL_LM\"");
    }
    if !(json["bias"].is_null() || json["bias"] == "none") {
        return refuse("bias", "\"none\"");
    }
    for field in MUST_BE_UNSET {
        let unset = match &json[field] {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if !unset {
            return refuse(field, "its default");
        }
    }
    // Initialisations that change the base ("pissa", "olora", "loftq") do not give the base that runs here.
    let init = &json["init_lora_weights"];
    if !(init.is_null() || init.is_boolean() || init == "gaussian" || init == "eva" || init == "orthogonal") {
        return refuse("init_lora_weights", "true, false, \"gaussian\", \"eva\" and \"orthogonal\"");
    }
    let r = match json["r"].as_u64() {
        Some(r @ 1..) if r <= crate::lora::MAX_RANK as u64 => r as usize,
        _ => return refuse("r", &format!("a whole number from 1 to {}", crate::lora::MAX_RANK)),
    };
    let alpha = match json["lora_alpha"].as_f64() {
        Some(alpha) if alpha.is_finite() && alpha > 0.0 => alpha as f32,
        _ => return refuse("lora_alpha", "a positive number"),
    };
    Ok(LoraConfig { r, alpha, target_modules: parse_targets(&json["target_modules"], all)? })
}

fn parse_targets(value: &Value, all: &[Module]) -> Result<Vec<Module>> {
    const FIELD: &str = "target_modules";
    if value == "all-linear" {
        return Ok(all.to_vec());
    }
    let Some(list) = value.as_array() else {
        return Err(Error::adapter(
            FIELD,
            format!("expected a list of names or \"all-linear\", found {value}"),
        ));
    };
    list.iter()
        .map(|name| {
            // PEFT matches the end of a module's path, so "self_attn.q_proj" means q_proj.
            let last = name.as_str().and_then(|name| name.rsplit('.').next());
            last.and_then(Module::from_name).ok_or_else(|| {
                Error::adapter(FIELD, format!("{name} is not a linear layer of this architecture"))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
