//! What is loaded: bases, adapters and their templates, each once. Pinned ones stay; of the others the least recently
//! used is dropped first.

use std::hash::Hash;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearth_kernels::Cpu;
use hearth_model::{Decoder, Lora, Workspace};

use crate::cache::{Cache, Ledger, Share};
use crate::render::Prompter;
use crate::{InferenceError, Limits, ModelRef};

/// Ends of the names of files that hold weights.
const WEIGHT_FILE_ENDS: [&str; 2] = [".safetensors", ".gguf"];
/// The system reads files page by page.
const PAGE_BYTES: usize = 4096;

/// A base whose weights are resident. All adapters over it share them.
pub(crate) struct Base {
    pub(crate) decoder: Decoder<Cpu>,
    /// Used by the scheduler's thread only.
    workspace: Mutex<Workspace<Cpu>>,
    share: Share,
}

impl Base {
    fn load(backend: Arc<Cpu>, dir: &Path, share: Share) -> Result<Self, InferenceError> {
        tracing::info!(dir = %dir.display(), "loading base model");
        let decoder = Decoder::load(backend, dir)
            .map_err(|source| InferenceError::LoadModel { dir: dir.to_owned(), source })?;
        let workspace = Mutex::new(Workspace::new(&decoder));
        Ok(Self { decoder, workspace, share })
    }

    /// Buffers of the forward pass.
    pub(crate) fn workspace(&self) -> MutexGuard<'_, Workspace<Cpu>> {
        self.workspace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the weights from the disk now: mapped files are read at first use otherwise.
    fn warm(&self) {
        for (_, weight) in self.decoder.matrices() {
            let read = weight.bytes().iter().step_by(PAGE_BYTES).fold(0u8, |sum, &byte| sum ^ byte);
            std::hint::black_box(read);
        }
    }
}

/// An adapter whose weights are resident.
pub(crate) struct Adapter {
    pub(crate) lora: Lora<Cpu>,
    share: Share,
}

impl Adapter {
    fn load(base: &Base, dir: &Path, mut share: Share) -> Result<Self, InferenceError> {
        tracing::info!(dir = %dir.display(), "loading adapter");
        let lora = Lora::load_peft(&base.decoder, dir)
            .map_err(|source| InferenceError::LoadModel { dir: dir.to_owned(), source })?;
        // Files may hold halves of what is computed with.
        share.resize(lora.tensors().element_count() as u64 * size_of::<f32>() as u64)?;
        Ok(Self { lora, share })
    }
}

/// Everything that one sequence needs of its model.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) base: Arc<Base>,
    pub(crate) adapter: Option<Arc<Adapter>>,
    pub(crate) prompter: Arc<Prompter>,
}

impl Model {
    /// The adapter's weights.
    pub(crate) fn lora(&self) -> Option<&Lora<Cpu>> {
        self.adapter.as_ref().map(|adapter| &adapter.lora)
    }
}

/// Loads models on first use. Sequences hold their own references, so that nothing in use is ever freed.
pub(crate) struct Models {
    backend: Arc<Cpu>,
    ledger: Arc<Ledger>,
    bases: Cache<DirKey, Base>,
    /// By base and adapter.
    adapters: Cache<(DirKey, DirKey), Adapter>,
    /// By base and model, which are the same for a base itself.
    prompters: Cache<(DirKey, DirKey), Prompter>,
    /// Where the bases are whose own templates may run here.
    trusted_bases_dir: Option<PathBuf>,
}

impl Models {
    /// Keeps as many bases and adapters that are not pinned, and as many bytes of weights in all, as the limits say.
    pub(crate) fn new(backend: Arc<Cpu>, limits: &Limits) -> Self {
        let Limits { max_bases, max_adapters, model_bytes, .. } = *limits;
        let clock = Arc::new(AtomicU64::new(0));
        Self {
            backend,
            ledger: Ledger::new(model_bytes),
            bases: Cache::new(max_bases, Arc::clone(&clock)),
            adapters: Cache::new(max_adapters, Arc::clone(&clock)),
            prompters: Cache::new(max_bases + max_adapters, clock),
            trusted_bases_dir: limits.trusted_bases_dir.clone(),
        }
    }

    /// What the models run on.
    pub(crate) fn backend(&self) -> &Arc<Cpu> {
        &self.backend
    }

    /// Loads the model; nothing of it stays but its base.
    pub(crate) fn check(&self, model: &ModelRef) -> Result<(), InferenceError> {
        let base = self.base(&DirKey::of(&model.base_dir)?)?;
        let dir = model.adapter_dir.as_ref().unwrap_or(&model.base_dir);
        if model.adapter_dir.is_some() {
            self.adapter(&base, dir)?;
        }
        self.open_prompter(dir, &model.base_dir).map(drop)
    }

    /// The model, loaded if it is not. Blocks while it loads; other models are not held up.
    pub(crate) fn get(&self, model: &ModelRef) -> Result<Model, InferenceError> {
        self.get_by(&Keys::of(model)?)
    }

    /// Tokenizer and chat template of a base, whose weights need not be loaded.
    pub(crate) fn base_prompter(&self, dir: &Path) -> Result<Arc<Prompter>, InferenceError> {
        let key = DirKey::of(dir)?;
        self.prompter((key.clone(), key))
    }

    /// By base and model.
    fn prompter(&self, key: (DirKey, DirKey)) -> Result<Arc<Prompter>, InferenceError> {
        self.prompters.get(&key, || self.open_prompter(&key.1.dir, &key.0.dir))
    }

    fn open_prompter(&self, dir: &Path, base_dir: &Path) -> Result<Prompter, InferenceError> {
        Prompter::open(dir, base_dir, self.is_base_trusted(base_dir))
    }

    /// Whether a base's own template may run in this process.
    pub fn is_base_trusted(&self, dir: &Path) -> bool {
        self.trusted_bases_dir.as_ref().is_none_or(|trusted| dir.starts_with(trusted))
    }

    fn get_by(&self, keys: &Keys) -> Result<Model, InferenceError> {
        let base = self.base(&keys.base)?;
        let prompter = self.prompter(keys.prompter())?;
        let Some(adapter) = &keys.adapter else { return Ok(Model { base, adapter: None, prompter }) };
        let key = (keys.base.clone(), adapter.clone());
        let adapter = self.adapters.get(&key, || self.adapter(&base, &adapter.dir))?;
        Ok(Model { base, adapter: Some(adapter), prompter })
    }

    fn base(&self, key: &DirKey) -> Result<Arc<Base>, InferenceError> {
        self.bases.get(key, || {
            let share = self.reserve(weight_bytes(&key.dir)?)?;
            Base::load(Arc::clone(&self.backend), &key.dir, share)
        })
    }

    /// An adapter that nobody else has.
    fn adapter(&self, base: &Base, dir: &Path) -> Result<Adapter, InferenceError> {
        let share = self.reserve(weight_bytes(dir)?)?;
        Adapter::load(base, dir, share)
    }

    /// Room for so many bytes, made by dropping what is neither pinned nor used lately.
    fn reserve(&self, bytes: u64) -> Result<Share, InferenceError> {
        loop {
            match self.ledger.share(bytes) {
                Err(full) if !self.drop_oldest() => return Err(full),
                Err(_) => {}
                Ok(share) => return Ok(share),
            }
        }
    }

    fn drop_oldest(&self) -> bool {
        match (self.bases.oldest(), self.adapters.oldest()) {
            (Some(base), Some(adapter)) if adapter < base => self.adapters.drop_oldest(),
            (Some(_), _) => self.bases.drop_oldest(),
            (None, Some(_)) => self.adapters.drop_oldest(),
            (None, None) => false,
        }
    }

    /// Loads the model, all of it, and keeps it until the pin is dropped.
    pub(crate) fn pin(self: &Arc<Self>, model: &ModelRef) -> Result<Pin, InferenceError> {
        let keys = Keys::of(model)?;
        self.bases.pin(&keys.base);
        self.prompters.pin(&keys.prompter());
        if let Some(adapter) = &keys.adapter {
            self.adapters.pin(&(keys.base.clone(), adapter.clone()));
        }
        // From here on the pin is let go if the model cannot be loaded.
        let pin = Pin { models: Arc::clone(self), keys };
        self.get_by(&pin.keys)?.base.warm();
        Ok(pin)
    }

    /// What is loaded now.
    pub(crate) fn resident(&self) -> Residency {
        let bases = self.bases.loaded(|key, base, is_pinned| Resident {
            dir: key.dir.clone(),
            bytes: base.share.bytes(),
            is_pinned,
        });
        let adapters = self.adapters.loaded(|key, adapter, is_pinned| Resident {
            dir: key.1.dir.clone(),
            bytes: adapter.share.bytes(),
            is_pinned,
        });
        Residency { bytes: self.ledger.used(), max_bytes: self.ledger.max_bytes(), bases, adapters }
    }
}

/// Keeps a model loaded. When the last pin of a model is dropped, so is the model, as soon as the requests that it is
/// answering have ended.
pub struct Pin {
    models: Arc<Models>,
    keys: Keys,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let Self { models, keys } = self;
        if let Some(adapter) = &keys.adapter {
            models.adapters.unpin(&(keys.base.clone(), adapter.clone()));
        }
        models.prompters.unpin(&keys.prompter());
        models.bases.unpin(&keys.base);
    }
}

/// What a service holds in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residency {
    /// Bytes of all weights that are in memory: those below, and those that are dropped when a request ends.
    pub bytes: u64,
    /// Most bytes that there may be.
    pub max_bytes: u64,
    /// Bases.
    pub bases: Vec<Resident>,
    /// Adapters.
    pub adapters: Vec<Resident>,
}

/// A model that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Its directory.
    pub dir: PathBuf,
    /// Bytes of its weights.
    pub bytes: u64,
    /// Whether it stays.
    pub is_pinned: bool,
}

/// The directories of a model as they are now.
struct Keys {
    base: DirKey,
    adapter: Option<DirKey>,
}

impl Keys {
    fn of(model: &ModelRef) -> Result<Self, InferenceError> {
        let adapter = model.adapter_dir.as_deref().map(DirKey::of).transpose()?;
        Ok(Self { base: DirKey::of(&model.base_dir)?, adapter })
    }

    fn model(&self) -> &DirKey {
        self.adapter.as_ref().unwrap_or(&self.base)
    }

    fn prompter(&self) -> (DirKey, DirKey) {
        (self.base.clone(), self.model().clone())
    }
}

/// A directory at one time: a model that was deleted and made again under its old name is another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct DirKey {
    dir: PathBuf,
    inode: u64,
    modified_ns: i128,
}

impl DirKey {
    fn of(dir: &Path) -> Result<Self, InferenceError> {
        let meta = std::fs::metadata(dir)
            .map_err(|source| InferenceError::ModelDir { dir: dir.to_owned(), source })?;
        Ok(Self {
            dir: dir.to_owned(),
            inode: meta.ino(),
            modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        })
    }
}

/// Bytes of the files of weights in a directory: what a base takes, since its files are mapped whole.
fn weight_bytes(dir: &Path) -> Result<u64, InferenceError> {
    let failed = |source| InferenceError::ModelDir { dir: dir.to_owned(), source };
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if WEIGHT_FILE_ENDS.iter().any(|end| name.ends_with(end)) {
            bytes += std::fs::metadata(entry.path()).map_err(failed)?.len();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
