//! `output/`: the adapter, what is needed to use it, and the last check before it counts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hearth_data::ChatTemplate;
use hearth_kernels::Backend;
use hearth_model::{ADAPTER_WEIGHTS_FILE, Lora};
use serde_json::Value;

use crate::card;
use crate::checkpoint::{Progress, sync_dir, write_synced};
use crate::digest;
use crate::error::{TrainError, io_error};
use crate::inputs::Inputs;
use crate::learner::Learner;
use crate::plan;

/// Training rows whose logits the gate compares.
const GATE_ROWS: usize = 3;
/// Tokens of each that it compares: enough to see every tensor at work, little enough to hold the logits.
const GATE_ROW_TOKENS: usize = 48;
/// Logits that exist at the same time in the gate: of the adapter in memory and of the one on disk, and the buffer
/// that they come from.
pub(crate) fn gate_logits(vocab_size: usize) -> usize {
    3 * GATE_ROW_TOKENS * vocab_size
}

/// Files of the base that go with the adapter unchanged, where they exist.
const COPIED_FILES: [&str; 3] = ["tokenizer.json", "special_tokens_map.json", "generation_config.json"];
const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// Writes the adapter beside `output`, checks it as it lies on disk, and only then renames it into place.
/// Returns the SHA-256 of `adapter_model.safetensors`.
pub fn write<B: Backend>(
    output: &Path,
    inputs: &Inputs,
    progress: &Progress,
    learner: &mut Learner<B>,
) -> Result<String, TrainError> {
    let beside = beside(output);
    remove_if_there(&beside)?;
    fs::create_dir_all(&beside).map_err(io_error("create", &beside))?;
    learner.lora().save_peft(&beside, &inputs.job.base_model_name).map_err(|source| TrainError::Model {
        action: "write the adapter to",
        path: beside.clone(),
        source,
    })?;
    copy_tokenizer(&inputs.job.base_model_dir, &beside, inputs.renderer.template())?;
    let adapter_sha256 = digest::file(&beside.join(ADAPTER_WEIGHTS_FILE))?;
    let adapted = &learner.lora().config().target_modules;
    let card = card::text(inputs, progress, adapted, &adapter_sha256);
    write_synced(&beside.join("README.md"), card.as_bytes())?;
    sync_all(&beside)?;
    gate(&beside, inputs, learner)?;
    remove_if_there(output)?;
    fs::rename(&beside, output).map_err(io_error("rename", &beside))?;
    sync_dir(output.parent().unwrap_or(Path::new(".")))?;
    Ok(adapter_sha256)
}

fn beside(output: &Path) -> PathBuf {
    output.with_extension("unfinished")
}

fn remove_if_there(dir: &Path) -> Result<(), TrainError> {
    if dir.exists() { fs::remove_dir_all(dir).map_err(io_error("remove", dir)) } else { Ok(()) }
}

/// Copies the tokenizer. The template goes to both places where programs look for it, as it was trained
/// with, which need not be the base model's own.
fn copy_tokenizer(base: &Path, to: &Path, template: Option<&ChatTemplate>) -> Result<(), TrainError> {
    for name in COPIED_FILES {
        let from = base.join(name);
        if from.exists() {
            fs::copy(&from, to.join(name)).map_err(io_error("copy", &from))?;
        }
    }
    let path = base.join(TOKENIZER_CONFIG_FILE);
    let mut config = Value::Object(serde_json::Map::new());
    if path.exists() {
        let text = fs::read(&path).map_err(io_error("read", &path))?;
        config = serde_json::from_slice(&text).map_err(|source| TrainError::Setting {
            message: format!("{TOKENIZER_CONFIG_FILE} of the base model is not JSON: {source}"),
        })?;
    }
    if let Some(template) = template {
        config[TEMPLATE_KEY] = Value::from(template.source());
        write_synced(&to.join(TEMPLATE_FILE), template.source().as_bytes())?;
    }
    let text = serde_json::to_vec_pretty(&config).expect("JSON values can be written");
    write_synced(&to.join(TOKENIZER_CONFIG_FILE), &text)
}

const TEMPLATE_KEY: &str = "chat_template";

/// Forces every file of a flat directory to disk.
fn sync_all(dir: &Path) -> Result<(), TrainError> {
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        let path = entry.map_err(io_error("read", dir))?.path();
        File::open(&path).and_then(|file| file.sync_all()).map_err(io_error("sync", &path))?;
    }
    sync_dir(dir)
}

/// Loads the adapter again from disk, which refuses numbers that are not finite; `lora_B` must have left
/// zero, and the logits of a few training rows must equal those of the adapter in memory exactly (same code, same weights).
pub fn gate<B: Backend>(dir: &Path, inputs: &Inputs, learner: &mut Learner<B>) -> Result<(), TrainError> {
    let failed = |message: String| Err(TrainError::Gate { message });
    let loaded = match Lora::load_peft(learner.decoder(), dir) {
        Ok(loaded) => loaded,
        Err(error) => return failed(format!("it cannot be loaded again: {error}")),
    };
    let backend = learner.decoder().backend();
    let mut any_b = false;
    for (name, _, buf) in loaded.tensors().iter() {
        any_b |= name.ends_with("lora_B.weight") && backend.download(buf).iter().any(|&x| x != 0.0);
    }
    if !any_b {
        return failed("all lora_B tensors are zero, so the adapter changes nothing".to_owned());
    }
    for sample in inputs.train.samples.iter().take(GATE_ROWS) {
        let mut head = sample.clone();
        head.tokens.truncate(GATE_ROW_TOKENS);
        head.weights.truncate(GATE_ROW_TOKENS);
        let packed = plan::packed([&head]);
        let trained = learner.logits(None, &packed)?;
        let written = learner.logits(Some(&loaded), &packed)?;
        if trained.iter().any(|x| !x.is_finite()) {
            return failed(format!("the logits of line {} are not finite", sample.line));
        }
        if trained != written {
            return failed(format!(
                "the logits of line {} differ between the trained and the written adapter",
                sample.line
            ));
        }
    }
    Ok(())
}
