//! From a GGUF file or a Hugging Face directory to a complete model directory, checked, ready to install.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hearth_data::tokenizer::{GgufTokenizer, config_from_gguf, from_gguf};
use hearth_data::{ChatTemplate, Tokenizer};
use hearth_domain::{AccountId, ModelId};
use hearth_kernels::{Cpu, CpuOptions};
use hearth_model::gguf::Gguf;
use hearth_model::{Decoder, GGUF_FILE, INDEX_FILE, ModelConfig, SINGLE_FILE, convert};
use hearth_store::installed::{self, InstalledKind, ModelManifest};
use serde_json::Value;

/// The chat template beside the tokenizer.
const TEMPLATE_FILE: &str = "chat_template.jinja";
const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
/// Files beside the weights that are kept; the rest of a directory is left where it is.
const SMALL_FILES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    TOKENIZER_CONFIG_FILE,
    "special_tokens_map.json",
    TEMPLATE_FILE,
];

/// Whether a file at the top of a Hugging Face repository belongs to the model.
pub fn is_model_file(name: &str) -> bool {
    SMALL_FILES.contains(&name)
        || name == INDEX_FILE
        || (!name.contains('/') && name.starts_with("model") && name.ends_with(".safetensors"))
}

/// Which model is being installed, and what its manifest says of where it came from.
pub struct Identity<'a> {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: ModelId,
    /// For people.
    pub display_name: &'a str,
    /// Where it came from.
    pub source: &'a str,
    /// Its repository on the hub.
    pub hub_id: Option<&'a str>,
}

/// Makes a model directory from a GGUF file or a Hugging Face directory, checks it, and moves it to its place.
/// `may_link`: the file will never be written to again, so it can be shared instead of copied.
pub fn install(from: &Path, may_link: bool, data_dir: &Path, identity: &Identity<'_>) -> Result<()> {
    let staged = Staged { dir: installed::stage(data_dir)? };
    let dir = staged.dir.as_path();
    if from.is_dir() { copy_directory(from, dir) } else { convert_gguf(from, may_link, dir) }
        .with_context(|| format!("cannot import {}", from.display()))?;
    let config = check(dir).with_context(|| format!("cannot use {}", from.display()))?;
    let manifest = ModelManifest {
        version: ModelManifest::VERSION,
        kind: InstalledKind::Base,
        display_name: identity.display_name.to_owned(),
        source: identity.source.to_owned(),
        hub_id: identity.hub_id.map(str::to_owned),
        parameter_count: config.parameter_count(),
        context_length: u32::try_from(config.max_position_embeddings).unwrap_or(u32::MAX),
        model_type: config.model_type.clone(),
        base_model: None,
        r: 0,
        target_modules: Vec::new(),
        files: installed::digest_files(dir)?,
        create_time_ms: jiff::Timestamp::now().as_millisecond(),
    };
    installed::install(data_dir, &identity.account, &identity.id, dir, &manifest)?;
    Ok(())
}

/// Gives a second data directory the same model: same files under a second name where the file system allows it.
pub fn share(installed_dir: &Path, data_dir: &Path, account: &AccountId, id: &ModelId) -> Result<()> {
    let to = installed::model_dir(data_dir, account, id);
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(installed_dir)? {
        let entry = entry?;
        link_or_copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A directory in the making; what is left of it goes away on drop.
struct Staged {
    dir: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a successful installation it is not there any more.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Writes what a GGUF file's metadata says as Hugging Face files, and links the weights.
fn convert_gguf(file: &Path, may_link: bool, dir: &Path) -> Result<()> {
    let gguf = Gguf::open(file)?;
    let converted = convert::from_gguf(&gguf)?;
    let meta = converted.tokenizer;
    let template = meta.chat_template.clone();
    let tokenizer = GgufTokenizer {
        model: meta.model,
        architecture: meta.architecture,
        pre: meta.pre.unwrap_or_default(),
        tokens: meta.tokens,
        token_types: meta
            .token_types
            .into_iter()
            .map(i32::try_from)
            .collect::<Result<_, _>>()
            .context("a token type is out of range")?,
        scores: meta.scores,
        merges: meta.merges,
        bos_token_id: meta.bos_token_id,
        eos_token_id: meta.eos_token_id,
        padding_token_id: meta.pad_token_id,
        unknown_token_id: meta.unk_token_id,
        add_bos_token: meta.add_bos_token,
        add_space_prefix: meta.add_space_prefix,
        chat_template: meta.chat_template,
    };
    fs::write(dir.join("config.json"), serde_json::to_string_pretty(&converted.config)? + "\n")?;
    fs::write(dir.join("tokenizer.json"), from_gguf(&tokenizer)?)?;
    fs::write(dir.join(TOKENIZER_CONFIG_FILE), config_from_gguf(&tokenizer)?)?;
    if let Some(template) = template {
        fs::write(dir.join(TEMPLATE_FILE), template)?;
    }
    let weights = dir.join(GGUF_FILE);
    if may_link {
        return link_or_copy(file, &weights);
    }
    fs::copy(file, &weights).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}

/// Takes the model's files out of a Hugging Face directory.
fn copy_directory(from: &Path, dir: &Path) -> Result<()> {
    let mut weights = false;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let is_weights = name == SINGLE_FILE || name == INDEX_FILE || name == GGUF_FILE;
        weights |= is_weights;
        if is_weights || is_model_file(name) {
            // Copied, not linked: the owner of the directory may go on writing to it.
            fs::copy(&path, dir.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    for needed in ["config.json", "tokenizer.json"] {
        if !dir.join(needed).exists() {
            bail!("the directory has no {needed}");
        }
    }
    if !weights {
        bail!("the directory has none of {SINGLE_FILE}, {INDEX_FILE} and {GGUF_FILE}");
    }
    settle_template(dir)
}

/// Puts the chat template into both places where programs look for it.
fn settle_template(dir: &Path) -> Result<()> {
    let config_path = dir.join(TOKENIZER_CONFIG_FILE);
    let mut config: Value = match fs::read(&config_path) {
        Ok(bytes) => serde_json::from_slice(&bytes).context("tokenizer_config.json is not JSON")?,
        Err(_) => Value::Object(serde_json::Map::new()),
    };
    let template_path = dir.join(TEMPLATE_FILE);
    if let Ok(template) = fs::read_to_string(&template_path) {
        config["chat_template"] = Value::from(template);
        fs::write(&config_path, serde_json::to_string_pretty(&config)? + "\n")?;
    } else if let Some(template) = config["chat_template"].as_str() {
        fs::write(&template_path, template)?;
    }
    Ok(())
}

/// Opens everything as a job and a chat would, so that what is damaged or not supported shows now.
fn check(dir: &Path) -> Result<ModelConfig> {
    let tokenizer = Tokenizer::open(dir)?;
    if let Ok(template) = fs::read_to_string(dir.join(TEMPLATE_FILE)) {
        ChatTemplate::compile(&template, tokenizer.special_tokens())
            .context("the chat template is not usable")?;
    }
    let decoder = Decoder::load(Arc::new(Cpu::new(CpuOptions::default())?), dir)?;
    Ok(decoder.config().clone())
}

/// A second name for the same file where the file system allows it; model files are never written to.
fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}
