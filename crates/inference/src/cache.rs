//! Shared values by key, some of them pinned, and an account of the bytes that they take.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::InferenceError;

/// Bytes that are in use, and how many may be.
pub(crate) struct Ledger {
    max_bytes: u64,
    used: Mutex<u64>,
}

impl Ledger {
    pub(crate) fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { max_bytes, used: Mutex::new(0) })
    }

    /// Takes so many bytes; gives none if that is more than is left.
    pub(crate) fn share(self: &Arc<Self>, bytes: u64) -> Result<Share, InferenceError> {
        self.take(bytes)?;
        Ok(Share { ledger: Arc::clone(self), bytes })
    }

    fn take(&self, bytes: u64) -> Result<(), InferenceError> {
        let mut used = self.lock();
        if self.max_bytes.saturating_sub(*used) < bytes {
            return Err(InferenceError::MemoryLimit {
                needed_bytes: bytes,
                used_bytes: *used,
                limit_bytes: self.max_bytes,
            });
        }
        *used += bytes;
        Ok(())
    }

    pub(crate) fn used(&self) -> u64 {
        *self.lock()
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that belong to one value. They are given back when it is dropped, which is when the memory is free.
pub(crate) struct Share {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Share {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes what is missing, or gives back what is too much.
    pub(crate) fn resize(&mut self, bytes: u64) -> Result<(), InferenceError> {
        if bytes > self.bytes {
            self.ledger.take(bytes - self.bytes)?;
        } else {
            *self.ledger.lock() -= self.bytes - bytes;
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.ledger.lock() -= self.bytes;
    }
}

/// Shared values by key. A value is made once even when many ask for it at the same time; a failure is not
/// kept. Of more than `limit` values that are not pinned the least recently used is forgotten.
pub(crate) struct Cache<K, V> {
    limit: usize,
    /// Orders uses, of several caches if they share it.
    clock: Arc<AtomicU64>,
    cells: Mutex<HashMap<K, Cell<V>>>,
}

struct Cell<V> {
    used: u64,
    pins: usize,
    value: Arc<Slot<V>>,
}

/// Locked while the value is made.
type Slot<V> = Mutex<Option<Arc<V>>>;

impl<K: Eq + Hash + Clone, V> Cache<K, V> {
    pub(crate) fn new(limit: usize, clock: Arc<AtomicU64>) -> Self {
        assert!(limit > 0, "a cache holds at least one value");
        Self { limit, clock, cells: Mutex::new(HashMap::new()) }
    }

    pub(crate) fn get(
        &self,
        key: &K,
        load: impl FnOnce() -> Result<V, InferenceError>,
    ) -> Result<Arc<V>, InferenceError> {
        let slot = self.slot(key);
        let mut value = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &*value {
            return Ok(Arc::clone(value));
        }
        let loaded = Arc::new(load()?);
        *value = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    fn slot(&self, key: &K) -> Arc<Slot<V>> {
        let mut cells = self.lock();
        let slot = Arc::clone(&self.cell(&mut cells, key).value);
        let mut dropped = Vec::new();
        while cells.values().filter(|cell| cell.pins == 0).count() > self.limit {
            dropped.extend(remove_oldest(&mut cells, |cell| cell.pins == 0));
        }
        // What is large is dropped when others can go on.
        drop(cells);
        drop(dropped);
        slot
    }

    fn cell<'a>(&self, cells: &'a mut HashMap<K, Cell<V>>, key: &K) -> &'a mut Cell<V> {
        let used = self.clock.fetch_add(1, Ordering::Relaxed);
        let cell = cells.entry(key.clone()).or_insert_with(|| Cell { used, pins: 0, value: Arc::default() });
        cell.used = used;
        cell
    }

    /// Keeps the value, from when it is made until as many [`Cache::unpin`].
    pub(crate) fn pin(&self, key: &K) {
        self.cell(&mut self.lock(), key).pins += 1;
    }

    /// Takes a pin back. The last one drops the value.
    pub(crate) fn unpin(&self, key: &K) {
        let mut cells = self.lock();
        let cell = cells.get_mut(key).expect("what is pinned is there");
        cell.pins -= 1;
        let dropped = if cell.pins == 0 { cells.remove(key) } else { None };
        drop(cells);
        drop(dropped);
    }

    /// When the value was used that [`Cache::drop_oldest`] would drop.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.lock().values().filter(|cell| cell.is_droppable()).map(|cell| cell.used).min()
    }

    /// Forgets the least recently used value that is not pinned. False if there is none.
    pub(crate) fn drop_oldest(&self) -> bool {
        // The guard is gone before the value is.
        let dropped = remove_oldest(&mut self.lock(), Cell::is_droppable);
        dropped.is_some()
    }

    /// Each value that is there, with whether it is pinned, the most recently used last.
    pub(crate) fn loaded<T>(&self, show: impl Fn(&K, &V, bool) -> T) -> Vec<T> {
        let mut shown: Vec<(u64, T)> = self
            .lock()
            .iter()
            .filter_map(|(key, cell)| {
                // One that is locked is still in the making.
                let value = cell.value.try_lock().ok()?;
                Some((cell.used, show(key, value.as_deref()?, cell.pins > 0)))
            })
            .collect();
        shown.sort_by_key(|(used, _)| *used);
        shown.into_iter().map(|(_, shown)| shown).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Cell<V>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Cell<V> {
    /// Neither pinned nor in the making nor in use: dropping it frees something.
    fn is_droppable(&self) -> bool {
        let is_idle = |value: &Option<Arc<V>>| value.as_ref().is_some_and(|v| Arc::strong_count(v) == 1);
        self.pins == 0 && self.value.try_lock().is_ok_and(|value| is_idle(&value))
    }
}

/// Takes out the least recently used cell that may go.
fn remove_oldest<K: Eq + Hash + Clone, V>(
    cells: &mut HashMap<K, Cell<V>>,
    may_go: impl Fn(&Cell<V>) -> bool,
) -> Option<Cell<V>> {
    let candidates = cells.iter().filter(|(_, cell)| may_go(cell));
    let oldest = candidates.min_by_key(|(_, cell)| cell.used).map(|(key, _)| key.clone())?;
    cells.remove(&oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache<V>(limit: usize) -> Cache<char, V> {
        Cache::new(limit, Arc::default())
    }

    /// Gets each key in turn; a capital letter marks those that had to be loaded. `+` pins the key behind it and `-`
    /// takes a pin back.
    fn check(limit: usize, keys: &str, expect: &str) {
        let cache = cache::<()>(limit);
        let mut out = String::new();
        let mut keys = keys.chars();
        while let Some(key) = keys.next() {
            match key {
                '+' => cache.pin(&keys.next().unwrap()),
                '-' => cache.unpin(&keys.next().unwrap()),
                key => {
                    let mut loaded = false;
                    cache
                        .get(&key, || {
                            loaded = true;
                            Ok(())
                        })
                        .unwrap();
                    out.push(if loaded { key.to_ascii_uppercase() } else { key });
                }
            }
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
    fn what_is_pinned_stays_and_goes_with_its_last_pin() {
        check(1, "+aabcdab", "ABCDaB");
        check(1, "+a+aab-aca-aa", "ABCaA");
        // Pinned values leave the others their room.
        check(2, "+a+babcdcd", "ABCDcd");
    }

    #[test]
    fn a_failure_is_not_kept() {
        let cache = cache::<u8>(2);
        assert!(cache.get(&'a', || Err(InferenceError::NotFinite)).is_err());
        assert_eq!(*cache.get(&'a', || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn many_at_once_load_once() {
        let cache = cache::<()>(2);
        let loads = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    cache
                        .get(&'a', || {
                            loads.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(loads.into_inner(), 1);
    }

    #[test]
    fn bytes_are_given_back_with_the_value() {
        let ledger = Ledger::new(10);
        let mut first = ledger.share(4).unwrap();
        assert!(matches!(
            ledger.share(7),
            Err(InferenceError::MemoryLimit { needed_bytes: 7, used_bytes: 4, limit_bytes: 10 })
        ));
        let second = ledger.share(6).unwrap();
        assert!(first.resize(5).is_err());
        drop(second);
        first.resize(9).unwrap();
        assert_eq!(ledger.used(), 9);
        first.resize(1).unwrap();
        assert_eq!(ledger.used(), 1);
        drop(first);
        assert_eq!(ledger.used(), 0);
    }
}
