//! Installed models: one directory each under `models/{account}/{model}`, with a manifest.
//!
//! Works on the file system alone, so that the command line can install a model while no server runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hearth_domain::{AccountId, ModelId, ModelRef};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::durable::{create_dir_all, sync_dir, sync_parent};
use crate::error::{StoreError, io_error};

/// Name of the manifest in a model's directory.
pub const MANIFEST_FILE: &str = "hearth-model.json";
/// Directory under `models/` for what is not yet complete. Ids never begin with a dot.
const STAGING: &str = ".staging";
/// What was staged is left alone for so long: far longer than any download takes.
const STAGED_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a model directory holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelManifest {
    /// Version of this format: [`ModelManifest::VERSION`].
    pub version: u32,
    /// Base or adapter.
    pub kind: InstalledKind,
    /// For people.
    pub display_name: String,
    /// Where it came from: a catalogue source, a path, or the name of the job that made it.
    pub source: String,
    /// `OWNER/NAME` of the repository on the Hugging Face hub whose weights a base has, exactly or quantised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_id: Option<String>,
    /// Number of weights; of the adapter alone for adapters.
    pub parameter_count: u64,
    /// Longest sequence, in tokens.
    pub context_length: u32,
    /// Architecture as `config.json` names it.
    pub model_type: String,
    /// Base of an adapter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<ModelRef>,
    /// Rank of an adapter; 0 for a base.
    #[serde(default)]
    pub r: u32,
    /// Adapted layers; empty for a base.
    #[serde(default)]
    pub target_modules: Vec<String>,
    /// All other files of the directory.
    pub files: BTreeMap<String, InstalledFile>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub create_time_ms: i64,
}

impl ModelManifest {
    /// Current version.
    pub const VERSION: u32 = 1;
}

/// Kind of an installed model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstalledKind {
    /// Whole weights.
    Base,
    /// A LoRA adapter.
    Adapter,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledFile {
    /// Size.
    pub size_bytes: u64,
    /// Lower-case hex digest.
    pub sha256: String,
}

/// A model found on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Installed {
    /// Its name.
    pub name: ModelRef,
    /// Its directory.
    pub dir: PathBuf,
    /// Its manifest.
    pub manifest: ModelManifest,
}

/// Directory of a model, whether it is there or not.
pub fn model_dir(data_dir: &Path, account: &AccountId, id: &ModelId) -> PathBuf {
    data_dir.join("models").join(account.as_str()).join(id.as_str())
}

/// Makes an empty directory on the file system of the models, to fill and then [`install`].
pub fn stage(data_dir: &Path) -> Result<PathBuf, StoreError> {
    let dir = data_dir.join("models").join(STAGING).join(format!("{:016x}", rand::random::<u64>()));
    fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
    Ok(dir)
}

/// Removes what was staged long ago and never installed: whoever staged it was killed. A server and a command may
/// stage at the same moment, so only age tells.
pub fn sweep(data_dir: &Path) -> Result<(), StoreError> {
    let staging = data_dir.join("models").join(STAGING);
    for name in subdirs(&staging)? {
        let dir = staging.join(name);
        let changed = fs::metadata(&dir).and_then(|data| data.modified()).map_err(io_error("read", &dir))?;
        // One from the future was changed just now.
        if changed.elapsed().is_ok_and(|age| age > STAGED_LIFE) {
            fs::remove_dir_all(&dir).map_err(io_error("remove", &dir))?;
        }
    }
    Ok(())
}

/// Size and digest of every file in a directory and its folders, besides the manifest. Folders in folders are an error.
pub fn digest_files(dir: &Path) -> Result<BTreeMap<String, InstalledFile>, StoreError> {
    let mut files = BTreeMap::new();
    digest_into(&mut files, dir, None)?;
    Ok(files)
}

fn digest_into(
    files: &mut BTreeMap<String, InstalledFile>,
    dir: &Path,
    folder: Option<&str>,
) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        let path = entry.map_err(io_error("read", dir))?.path();
        let format = |message: &str| StoreError::Format {
            path: path.clone(),
            what: "file of a model",
            message: message.to_owned(),
        };
        let name =
            path.file_name().and_then(|name| name.to_str()).ok_or_else(|| format("name is not UTF-8"))?;
        match folder {
            None if name == MANIFEST_FILE => {}
            None if path.is_dir() => digest_into(files, &path, Some(name))?,
            _ if !path.is_file() => return Err(format("only plain files are allowed")),
            None => _ = files.insert(name.to_owned(), digest_file(&path)?),
            Some(folder) => _ = files.insert(format!("{folder}/{name}"), digest_file(&path)?),
        }
    }
    Ok(())
}

fn digest_file(path: &Path) -> Result<InstalledFile, StoreError> {
    let mut file = File::open(path).map_err(io_error("open", path))?;
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(io_error("read", path))?;
        if read == 0 {
            return Ok(InstalledFile { size_bytes, sha256: hex::encode(hash.finalize()) });
        }
        size_bytes += read as u64;
        hash.update(&buffer[..read]);
    }
}

/// Writes the manifest into `staged_dir` and moves it to its place, whole. Blocking.
///
/// `ALREADY_EXISTS` if there is such a model; the staged directory then stays as it is. The staged directory must
/// be on the file system of the data directory, see [`stage`].
pub fn install(
    data_dir: &Path,
    account: &AccountId,
    id: &ModelId,
    staged_dir: &Path,
    manifest: &ModelManifest,
) -> Result<Installed, StoreError> {
    let dir = model_dir(data_dir, account, id);
    let name = ModelRef { account: account.clone(), id: id.clone() };
    let exists = || StoreError::AlreadyExists { kind: "model", name: name.to_string() };
    if dir.exists() {
        return Err(exists());
    }
    let path = staged_dir.join(MANIFEST_FILE);
    let text = serde_json::to_vec_pretty(manifest).expect("a manifest is plain data");
    let mut file = File::create(&path).map_err(io_error("create", &path))?;
    file.write_all(&text).map_err(io_error("write", &path))?;
    sync_all(staged_dir)?;

    let parent = dir.parent().expect("a model directory has a parent");
    create_dir_all(parent)?;
    // Renaming onto a directory that is not empty fails, so of two installers one wins.
    fs::rename(staged_dir, &dir).map_err(|error| match error.kind() {
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => exists(),
        _ => io_error("rename", staged_dir)(error),
    })?;
    sync_dir(parent)?;
    Ok(Installed { name, dir, manifest: manifest.clone() })
}

/// Forces all files of a directory, and the directory, to disk.
pub fn sync_all(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        let path = entry.map_err(io_error("read", dir))?.path();
        if path.is_dir() {
            sync_all(&path)?;
            continue;
        }
        File::open(&path).and_then(|file| file.sync_all()).map_err(io_error("sync", &path))?;
    }
    sync_dir(dir)
}

/// Reads one installed model. `NOT_FOUND` if it is not there.
pub fn read(data_dir: &Path, account: &AccountId, id: &ModelId) -> Result<Installed, StoreError> {
    let dir = model_dir(data_dir, account, id);
    let name = ModelRef { account: account.clone(), id: id.clone() };
    let path = dir.join(MANIFEST_FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(StoreError::NotFound { kind: "model", name: name.to_string() });
        }
        Err(error) => return Err(io_error("read", &path)(error)),
    };
    let format = |message: String| StoreError::Format { path: path.clone(), what: "model manifest", message };
    let manifest: ModelManifest = serde_json::from_slice(&text).map_err(|error| format(error.to_string()))?;
    if manifest.version != ModelManifest::VERSION {
        let known = ModelManifest::VERSION;
        return Err(format(format!("version {}; this program knows version {known}", manifest.version)));
    }
    Ok(Installed { name, dir, manifest })
}

/// All installed models, sorted by account and id, and why the others cannot be read: one damaged manifest hides
/// only its own model. Directories without a manifest are not models.
pub fn list(data_dir: &Path) -> Result<(Vec<Installed>, Vec<StoreError>), StoreError> {
    let (mut found, mut damaged) = (Vec::new(), Vec::new());
    for account in subdirs(&data_dir.join("models"))? {
        let Ok(account) = AccountId::new(account) else { continue };
        for id in subdirs(&data_dir.join("models").join(account.as_str()))? {
            let Ok(id) = ModelId::new(id) else { continue };
            match read(data_dir, &account, &id) {
                Ok(model) => found.push(model),
                Err(StoreError::NotFound { .. }) => {}
                Err(error @ StoreError::Format { .. }) => damaged.push(error),
                Err(error) => return Err(error),
            }
        }
    }
    Ok((found, damaged))
}

/// Names of the directories in a directory, sorted; none if it is not there.
fn subdirs(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error("read", dir))?;
        if let (true, Ok(name)) = (entry.path().is_dir(), entry.file_name().into_string()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes a model: out of sight first, in one step, then file by file. `NOT_FOUND` if it is not there.
pub fn remove(data_dir: &Path, account: &AccountId, id: &ModelId) -> Result<(), StoreError> {
    let dir = model_dir(data_dir, account, id);
    let grave = stage(data_dir)?.join("removed");
    let moved = fs::rename(&dir, &grave).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let name = ModelRef { account: account.clone(), id: id.clone() };
            StoreError::NotFound { kind: "model", name: name.to_string() }
        }
        _ => io_error("rename", &dir)(error),
    });
    if moved.is_ok() {
        // A model that came back after a power cut would count as installed.
        sync_parent(&dir)?;
    }
    let staged = grave.parent().expect("the grave is in a staging directory");
    fs::remove_dir_all(staged).map_err(io_error("remove", staged))?;
    moved
}
