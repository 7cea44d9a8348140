//! From a GGUF file or a Hugging Face directory to an installed model.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use hearth_domain::{AccountId, ModelId};
use hearth_inference::assemble::{self, Take, Templates};
use hearth_kernels::{Cpu, CpuOptions};
use hearth_store::installed::{self, InstalledKind, ModelManifest};

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
    let take = if may_link && from.is_file() { Take::All } else { Take::Known };
    let cpu = Arc::new(Cpu::new(CpuOptions::default())?);
    let facts = assemble::base(from, take, dir, cpu, Templates::Here)
        .with_context(|| format!("cannot import {}", from.display()))?;
    let manifest = ModelManifest {
        version: ModelManifest::VERSION,
        kind: InstalledKind::Base,
        display_name: identity.display_name.to_owned(),
        source: identity.source.to_owned(),
        hub_id: identity.hub_id.map(str::to_owned),
        parameter_count: facts.parameter_count,
        context_length: facts.context_length,
        model_type: facts.model_type,
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

/// A second name for the same file where the file system allows it; model files are never written to.
fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}
