//! What is loaded: bases, adapters and their templates, each once, the least recently used dropped first.

use std::collections::HashMap;
use std::hash::Hash;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearth_kernels::Cpu;
use hearth_model::{Decoder, Lora, Workspace};

use crate::render::Prompter;
use crate::{InferenceError, Limits, ModelRef};

/// A base whose weights are resident. All adapters over it share them.
pub(crate) struct Base {
    pub(crate) decoder: Decoder<Cpu>,
    /// Used by the scheduler's thread only.
    workspace: Mutex<Workspace<Cpu>>,
}

impl Base {
    fn load(backend: Arc<Cpu>, dir: &Path) -> Result<Self, InferenceError> {
        tracing::info!(dir = %dir.display(), "loading base model");
        let decoder = Decoder::load(backend, dir)
            .map_err(|source| InferenceError::LoadModel { dir: dir.to_owned(), source })?;
        let workspace = Mutex::new(Workspace::new(&decoder));
        Ok(Self { decoder, workspace })
    }

    /// Buffers of the forward pass.
    pub(crate) fn workspace(&self) -> MutexGuard<'_, Workspace<Cpu>> {
        self.workspace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that one sequence needs of its model.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) base: Arc<Base>,
    pub(crate) lora: Option<Arc<Lora<Cpu>>>,
    pub(crate) prompter: Arc<Prompter>,
}

/// Loads models on first use. Sequences hold their own references, so that nothing in use is ever freed.
pub(crate) struct Models {
    backend: Arc<Cpu>,
    bases: Cache<DirKey, Base>,
    /// By base and adapter.
    adapters: Cache<(DirKey, DirKey), Lora<Cpu>>,
    /// By base and model, which are the same for a base itself.
    prompters: Cache<(DirKey, DirKey), Prompter>,
    /// Where the bases are whose own templates may run here.
    trusted_bases_dir: Option<PathBuf>,
}

impl Models {
    /// Keeps as many bases and adapters as the limits say.
    pub(crate) fn new(backend: Arc<Cpu>, limits: &Limits) -> Self {
        let Limits { max_bases, max_adapters, .. } = *limits;
        Self {
            backend,
            bases: Cache::new(max_bases),
            adapters: Cache::new(max_adapters),
            prompters: Cache::new(max_bases + max_adapters),
            trusted_bases_dir: limits.trusted_bases_dir.clone(),
        }
    }

    /// What the models run on.
    pub(crate) fn backend(&self) -> &Arc<Cpu> {
        &self.backend
    }

    /// Loads the model; nothing of it stays but its base.
    pub(crate) fn check(&self, model: &ModelRef) -> Result<(), InferenceError> {
        let base_key = DirKey::of(&model.base_dir)?;
        let base = self.bases.get(&base_key, || Base::load(Arc::clone(&self.backend), &model.base_dir))?;
        let dir = model.adapter_dir.as_ref().unwrap_or(&model.base_dir);
        if model.adapter_dir.is_some() {
            Lora::load_peft(&base.decoder, dir)
                .map_err(|source| InferenceError::LoadModel { dir: dir.clone(), source })?;
        }
        self.open_prompter(dir, &model.base_dir).map(drop)
    }

    /// The model, loaded if it is not. Blocks while it loads; other models are not held up.
    pub(crate) fn get(&self, model: &ModelRef) -> Result<Model, InferenceError> {
        let base_key = DirKey::of(&model.base_dir)?;
        let base = self.bases.get(&base_key, || Base::load(Arc::clone(&self.backend), &model.base_dir))?;
        let Some(adapter_dir) = &model.adapter_dir else {
            return Ok(Model { base, lora: None, prompter: self.prompter(base_key.clone(), base_key)? });
        };
        let adapter_key = DirKey::of(adapter_dir)?;
        let lora = self.adapters.get(&(base_key.clone(), adapter_key.clone()), || {
            tracing::info!(dir = %adapter_dir.display(), "loading adapter");
            Lora::load_peft(&base.decoder, adapter_dir)
                .map_err(|source| InferenceError::LoadModel { dir: adapter_dir.clone(), source })
        })?;
        Ok(Model { base, lora: Some(lora), prompter: self.prompter(base_key, adapter_key)? })
    }

    /// Tokenizer and chat template of a base, whose weights need not be loaded.
    pub(crate) fn base_prompter(&self, dir: &Path) -> Result<Arc<Prompter>, InferenceError> {
        let key = DirKey::of(dir)?;
        self.prompter(key.clone(), key)
    }

    /// How many bases are loaded.
    pub(crate) fn resident_bases(&self) -> usize {
        self.bases.held()
    }

    fn prompter(&self, base: DirKey, model: DirKey) -> Result<Arc<Prompter>, InferenceError> {
        let key = (base, model);
        self.prompters.get(&key, || self.open_prompter(&key.1.dir, &key.0.dir))
    }

    fn open_prompter(&self, dir: &Path, base_dir: &Path) -> Result<Prompter, InferenceError> {
        Prompter::open(dir, base_dir, self.is_base_trusted(base_dir))
    }

    /// Whether a base's own template may run in this process.
    pub(crate) fn is_base_trusted(&self, dir: &Path) -> bool {
        self.trusted_bases_dir.as_ref().is_none_or(|trusted| dir.starts_with(trusted))
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

/// Shared values by key. A value is made once even when many ask for it at the same time; a failure is not
/// kept. Beyond `limit` values the least recently used is forgotten.
struct Cache<K, V> {
    limit: usize,
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V> {
    clock: u64,
    cells: HashMap<K, Cell<V>>,
}

struct Cell<V> {
    used: u64,
    /// Locked while the value is made.
    value: Arc<Mutex<Option<Arc<V>>>>,
}

impl<K: Eq + Hash + Clone, V> Cache<K, V> {
    fn new(limit: usize) -> Self {
        assert!(limit > 0, "a cache holds at least one value");
        Self { limit, entries: Mutex::new(Entries { clock: 0, cells: HashMap::new() }) }
    }

    /// Values that are made and not forgotten.
    fn held(&self) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // A value that is being made is locked, and not there yet.
        let is_made = |cell: &&Cell<V>| cell.value.try_lock().is_ok_and(|value| value.is_some());
        entries.cells.values().filter(is_made).count()
    }

    fn get(
        &self,
        key: &K,
        load: impl FnOnce() -> Result<V, InferenceError>,
    ) -> Result<Arc<V>, InferenceError> {
        let cell = self.cell(key);
        let mut value = cell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &*value {
            return Ok(Arc::clone(value));
        }
        let loaded = Arc::new(load()?);
        *value = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    fn cell(&self, key: &K) -> Arc<Mutex<Option<Arc<V>>>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock += 1;
        let clock = entries.clock;
        let cell = entries
            .cells
            .entry(key.clone())
            .or_insert_with(|| Cell { used: clock, value: Arc::new(Mutex::new(None)) });
        cell.used = clock;
        let value = Arc::clone(&cell.value);
        while entries.cells.len() > self.limit {
            let oldest = entries.cells.iter().min_by_key(|(_, c)| c.used).map(|(k, _)| k.clone());
            entries.cells.remove(&oldest.expect("the map is not empty"));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gets each key in turn; a capital letter marks those that had to be loaded.
    fn check(limit: usize, keys: &str, expect: &str) {
        let cache: Cache<char, ()> = Cache::new(limit);
        let mut out = String::new();
        for key in keys.chars() {
            let mut loaded = false;
            cache
                .get(&key, || {
                    loaded = true;
                    Ok(())
                })
                .unwrap();
            out.push(if loaded { key.to_ascii_uppercase() } else { key });
        }
        assert_eq!(out, expect);
    }

    #[test]
    fn the_least_recently_used_is_forgotten() {
        check(2, "aabab", "AaBab");
        check(2, "abcab", "ABCAB");
        check(2, "abacab", "ABaCaB");
        check(1, "aba", "ABA");
    }

    #[test]
    fn a_failure_is_not_kept() {
        let cache: Cache<char, u8> = Cache::new(2);
        assert!(cache.get(&'a', || Err(InferenceError::NotFinite)).is_err());
        assert_eq!(*cache.get(&'a', || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn many_at_once_load_once() {
        let cache: Cache<char, ()> = Cache::new(2);
        let loads = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    cache
                        .get(&'a', || {
                            loads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            Ok(())
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(loads.into_inner(), 1);
    }
}
