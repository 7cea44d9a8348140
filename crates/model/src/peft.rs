//! Adapters in PEFT's form: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use ::safetensors::Dtype;
use ::safetensors::tensor::{TensorView, serialize};
use hearth_kernels::backend::Backend;
use serde_json::{Value, json};

use crate::config::{ModelConfig, Module};
use crate::decoder::Decoder;
use crate::error::{Error, Result, read_json};
use crate::lora::{Lora, LoraConfig, MAX_RANK, checked, specs};
use crate::safetensors::{Tensor, open_file};
use crate::weights::to_f32;

/// Name of an adapter's configuration.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
/// Name of an adapter's weights.
pub const ADAPTER_WEIGHTS_FILE: &str = "adapter_model.safetensors";

impl<B: Backend> Lora<B> {
    /// Writes `adapter_config.json` and `adapter_model.safetensors` (f32, tensors sorted by name) into an
    /// existing directory. The same adapter gives the same bytes.
    pub fn save_peft(&self, dir: &Path, base_model_name_or_path: &str) -> Result<()> {
        let backend = self.tensors().backend();
        let tensors = self.tensors().iter().map(|(name, shape, buf)| {
            let bytes = backend.download(buf).iter().flat_map(|x| x.to_le_bytes()).collect();
            (name, shape.to_vec(), bytes)
        });
        write_peft(dir, self.config(), base_model_name_or_path, tensors)
    }

    /// Reads an adapter that PEFT or this crate wrote. Whatever would make the result differ from what the
    /// file means is refused by name: DoRA, `modules_to_save`, biases, patterns, unknown, missing or
    /// wrongly shaped tensors. Of rsLoRA, alpha becomes what gives the same scale with `alpha / r`. The error is the first of [`inspect_peft`].
    pub fn load_peft(decoder: &Decoder<B>, dir: &Path) -> Result<Self> {
        let config = parse_config(&read_json(&dir.join(ADAPTER_CONFIG_FILE))?, decoder.config().linears())
            .map_err(first)?;
        let mut lora = Self::zeros(decoder, &config)?;
        let mut stored = open_adapter(&dir.join(ADAPTER_WEIGHTS_FILE))?;
        for (name, shape, buf) in lora.tensors_mut().iter_mut() {
            let values = take(&mut stored, name, shape)?;
            decoder.backend().write(buf, &values);
        }
        match stored.into_values().next() {
            Some((name, _)) => Err(unknown(&name)),
            None => Ok(lora),
        }
    }
}

/// Writes the files of an adapter from its tensors, by PEFT's names: little-endian f32 of their shapes.
pub fn write_peft<'a>(
    dir: &Path,
    config: &LoraConfig,
    base_model_name_or_path: &str,
    tensors: impl Iterator<Item = (&'a str, Vec<usize>, Vec<u8>)>,
) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&adapter_config(config, base_model_name_or_path))
        .unwrap_or_else(|e| unreachable!("plain values always serialise: {e}"));
    text.push('\n');
    let config_path = dir.join(ADAPTER_CONFIG_FILE);
    fs::write(&config_path, text).map_err(|e| Error::io("write", &config_path, e))?;

    let path = dir.join(ADAPTER_WEIGHTS_FILE);
    let damaged = |e| Error::Safetensors { path: path.clone(), reason: format!("cannot be written: {e}") };
    let tensors: Vec<(&str, Vec<usize>, Vec<u8>)> = tensors.collect();
    let mut views = Vec::new();
    for (name, shape, bytes) in &tensors {
        views.push((*name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(damaged)?));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = serialize(views, Some(metadata)).map_err(damaged)?;
    fs::write(&path, bytes).map_err(|e| Error::io("write", &path, e))
}

/// The configuration of an adapter of a base, without a look at its weights.
pub fn read_peft_config(base: &ModelConfig, dir: &Path) -> Result<LoraConfig> {
    let config = parse_config(&read_json(&dir.join(ADAPTER_CONFIG_FILE))?, base.linears()).map_err(first)?;
    checked(&config, base)
}

/// Everything that keeps an adapter directory from being used over a base; its configuration if nothing does.
pub fn inspect_peft(base: &ModelConfig, dir: &Path) -> std::result::Result<LoraConfig, Vec<Error>> {
    let json = read_json(&dir.join(ADAPTER_CONFIG_FILE)).map_err(|error| vec![error]);
    let config = json.and_then(|json| {
        let config = parse_config(&json, base.linears())?;
        checked(&config, base).map_err(|error| vec![error])
    });
    let mut stored = match (open_adapter(&dir.join(ADAPTER_WEIGHTS_FILE)), &config) {
        (Ok(stored), Ok(_)) => stored,
        (Err(error), Ok(_)) => return Err(vec![error]),
        // Which tensors there should be is not known.
        (Ok(_), Err(_)) => return config,
        (Err(error), Err(_)) => {
            return config.map_err(|mut problems| {
                problems.push(error);
                problems
            });
        }
    };
    let config = config?;
    let mut problems = Vec::new();
    for spec in specs(base, &config) {
        problems.extend(take(&mut stored, &spec.name, spec.shape).err());
    }
    problems.extend(stored.into_values().map(|(name, _)| unknown(&name)));
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// Tensors of a file by the names that this crate writes, each with the name that the file gives it.
type Stored = BTreeMap<String, (String, Tensor)>;

/// Opens an adapter's weights, under whichever of PEFT's names they are.
fn open_adapter(path: &Path) -> Result<Stored> {
    let mut stored = Stored::new();
    for (name, tensor) in open_file(path)? {
        if let Some((other, _)) = stored.insert(canonical(&name), (name.clone(), tensor)) {
            return Err(Error::tensor(name, format!("is the same tensor as {other}")));
        }
    }
    Ok(stored)
}

/// The name that today's PEFT gives a tensor. Older versions and other writers leave out the wrapper's prefix or that
/// of the causal model, or keep the name under which PEFT held the adapter in memory.
fn canonical(name: &str) -> String {
    const PREFIX: &str = "base_model.model.";
    let path = name.strip_prefix(PREFIX).unwrap_or(name);
    let model = if path.starts_with("layers.") { "model." } else { "" };
    let path = match path.strip_suffix(".default.weight") {
        Some(stem) if stem.ends_with(".lora_A") || stem.ends_with(".lora_B") => format!("{stem}.weight"),
        _ => path.to_owned(),
    };
    format!("{PREFIX}{model}{path}")
}

/// Takes the numbers of one tensor out of `stored`.
fn take(stored: &mut Stored, name: &str, shape: [usize; 2]) -> Result<Vec<f32>> {
    let (given, tensor) =
        stored.remove(name).ok_or_else(|| Error::tensor(name, "missing from the adapter"))?;
    if tensor.shape != shape {
        let reason = format!("shape is {:?}, base and r ask for {shape:?}", tensor.shape);
        return Err(Error::tensor(given, reason));
    }
    let values = to_f32(&tensor.matrix(&given)?).map_err(|reason| Error::tensor(&given, reason))?;
    match values.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(Error::tensor(given, format!("element {i} is {}", values[i]))),
        None => Ok(values),
    }
}

fn unknown(name: &str) -> Error {
    Error::tensor(name, "is not a LoRA tensor of this base and these target_modules")
}

fn first(problems: Vec<Error>) -> Error {
    problems.into_iter().next().unwrap_or_else(|| unreachable!("a refusal has a reason"))
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
const MUST_BE_UNSET: [&str; 18] = [
    "use_dora",
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

/// `all`: what "all-linear" means for the base. The errors are all that are in the file.
fn parse_config(json: &Value, all: &[Module]) -> std::result::Result<LoraConfig, Vec<Error>> {
    let mut problems = Vec::new();
    let mut refuse = |field: &str, supported: &str| {
        let reason = format!("{} is not supported, only {supported}", json[field]);
        problems.push(Error::adapter(field, reason));
    };
    if !json.is_object() {
        return Err(vec![Error::adapter("peft_type", "the file is not a JSON object")]);
    }
    if json["peft_type"] != "LORA" {
        refuse("peft_type", "\"LORA\"");
    }
    if !(json["task_type"].is_null() || json["task_type"] == "CAUSAL_LM") {
        refuse("task_type", "\"CAUSAL_LM\"");
    }
    if !(json["bias"].is_null() || json["bias"] == "none") {
        refuse("bias", "\"none\"");
    }
    for field in MUST_BE_UNSET {
        let unset = match &json[field] {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if !unset {
            refuse(field, "its default");
        }
    }
    // Initialisations that change the base ("pissa", "olora", "loftq") do not give the base that runs here.
    let init = &json["init_lora_weights"];
    if !(init.is_null() || init.is_boolean() || init == "gaussian" || init == "eva" || init == "orthogonal") {
        refuse("init_lora_weights", "true, false, \"gaussian\", \"eva\" and \"orthogonal\"");
    }
    let r = json["r"].as_u64().filter(|r| (1..=MAX_RANK as u64).contains(r)).unwrap_or_default() as usize;
    if r == 0 {
        refuse("r", &format!("a whole number from 1 to {MAX_RANK}"));
    }
    // rsLoRA scales by alpha / sqrt(r).
    let scaling = match &json["use_rslora"] {
        Value::Bool(true) => (r as f64).sqrt(),
        Value::Bool(false) | Value::Null => 1.0,
        _ => {
            refuse("use_rslora", "true and false");
            1.0
        }
    };
    let alpha = json["lora_alpha"].as_f64().filter(|alpha| alpha.is_finite() && *alpha > 0.0);
    if alpha.is_none() {
        refuse("lora_alpha", "a positive number");
    }
    let target_modules = parse_targets(&json["target_modules"], all).unwrap_or_else(|found| {
        problems.extend(found);
        Vec::new()
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(LoraConfig { r, alpha: (alpha.unwrap_or_default() * scaling) as f32, target_modules })
}

fn parse_targets(value: &Value, all: &[Module]) -> std::result::Result<Vec<Module>, Vec<Error>> {
    const FIELD: &str = "target_modules";
    if value == "all-linear" {
        return Ok(all.to_vec());
    }
    let Some(list) = value.as_array() else {
        let reason = format!("expected a list of names or \"all-linear\", found {value}");
        return Err(vec![Error::adapter(FIELD, reason)]);
    };
    let (mut modules, mut problems) = (Vec::new(), Vec::new());
    for name in list {
        // PEFT matches the end of a module's path, so "self_attn.q_proj" means q_proj.
        let last = name.as_str().and_then(|name| name.rsplit('.').next());
        match last.and_then(Module::from_name) {
            Some(module) => modules.push(module),
            None => {
                let reason = format!("{name} is not a linear layer of this architecture");
                problems.push(Error::adapter(FIELD, reason));
            }
        }
    }
    if problems.is_empty() { Ok(modules) } else { Err(problems) }
}

#[cfg(test)]
mod tests;
