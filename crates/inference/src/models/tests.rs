//! What is in memory, by what was dropped: every value gives its bytes back when it is freed.

use std::sync::Weak;

use hearth_kernels::CpuOptions;
use tempfile::TempDir;

use super::*;
use crate::tiny;

struct Fixture {
    dir: TempDir,
    models: Arc<Models>,
}

impl Fixture {
    /// Bases `a` and `b`, adapters `x` and `y`, with room for so many of them.
    fn new(max_bases: usize, max_adapters: usize, max_bytes: u64) -> Self {
        let dir = TempDir::new().unwrap();
        for (name, seed) in [("a", 1), ("b", 2)] {
            tiny::write_base(&dir.path().join(name), seed);
        }
        for (name, seed) in [("x", 3), ("y", 4)] {
            tiny::write_adapter(&dir.path().join(name), seed);
        }
        let cpu = Arc::new(Cpu::new(CpuOptions { threads: 1, ..CpuOptions::default() }).unwrap());
        let limits = Limits { max_bases, max_adapters, model_bytes: max_bytes, ..Limits::default() };
        Self { dir, models: Arc::new(Models::new(cpu, &limits)) }
    }

    /// `a` is a base, `ax` an adapter over it.
    fn named(&self, name: &str) -> ModelRef {
        let (base, adapter) = name.split_at(1);
        let dir = |name: &str| self.dir.path().join(name);
        ModelRef { base_dir: dir(base), adapter_dir: (!adapter.is_empty()).then(|| dir(adapter)) }
    }

    fn get(&self, name: &str) -> Model {
        self.models.get(&self.named(name)).unwrap()
    }

    fn pin(&self, name: &str) -> Pin {
        self.models.pin(&self.named(name)).unwrap()
    }

    /// The names of what is loaded, bases first, with a star if they are pinned.
    fn loaded(&self) -> String {
        let residency = self.models.resident();
        let shown = residency.bases.iter().chain(&residency.adapters).map(|resident| {
            let name = resident.dir.file_name().unwrap().to_str().unwrap();
            format!("{name}{}", if resident.is_pinned { "*" } else { "" })
        });
        let mut shown: Vec<String> = shown.collect();
        shown.sort();
        shown.join(" ")
    }

    fn bytes(&self) -> u64 {
        self.models.resident().bytes
    }
}

/// Bytes of a base and of an adapter.
fn sizes() -> (u64, u64) {
    let fixture = Fixture::new(1, 1, u64::MAX);
    let model = fixture.get("ax");
    (model.base.share.bytes(), model.adapter.unwrap().share.bytes())
}

#[test]
fn a_pin_loads_keeps_and_frees() {
    let fixture = Fixture::new(1, 1, u64::MAX);
    let (base, adapter) = sizes();
    let first = fixture.pin("a");
    assert_eq!((fixture.loaded(), fixture.bytes()), ("a*".to_owned(), base));
    let second = fixture.pin("ax");
    assert_eq!((fixture.loaded(), fixture.bytes()), ("a* x*".to_owned(), base + adapter));
    // Others come and go beside them.
    for name in ["b", "ay", "b"] {
        fixture.get(name);
    }
    assert_eq!(fixture.loaded(), "a* b x* y");
    drop(first);
    assert_eq!(fixture.loaded(), "a* b x* y", "the adapter needs its base");
    drop(second);
    assert_eq!((fixture.loaded(), fixture.bytes()), ("b y".to_owned(), base + adapter));
}

#[test]
fn memory_is_freed_when_the_last_request_ends() {
    let fixture = Fixture::new(1, 1, u64::MAX);
    let pin = fixture.pin("ax");
    // As a running sequence holds it.
    let model = fixture.get("ax");
    let (base, adapter): (Weak<Base>, Weak<Adapter>) =
        (Arc::downgrade(&model.base), Arc::downgrade(model.adapter.as_ref().unwrap()));
    drop(pin);
    assert_eq!(fixture.loaded(), "");
    assert!(fixture.bytes() > 0 && base.upgrade().is_some() && adapter.upgrade().is_some());
    drop(model);
    assert!(base.upgrade().is_none() && adapter.upgrade().is_none());
    assert_eq!(fixture.bytes(), 0);
}

#[test]
fn a_pin_that_cannot_be_had_leaves_nothing() {
    let (base, adapter) = sizes();
    let fixture = Fixture::new(2, 2, 2 * base + adapter - 1);
    let _a = fixture.pin("a");
    // What is not pinned makes room.
    fixture.get("b");
    let _ax = fixture.pin("ax");
    assert_eq!(fixture.loaded(), "a* x*");
    let full = fixture.models.pin(&fixture.named("b")).map(|_| ()).unwrap_err();
    assert!(matches!(full, InferenceError::MemoryLimit { .. }), "{full}");
    let full = fixture.models.get(&fixture.named("b")).map(|_| ()).unwrap_err();
    assert!(matches!(full, InferenceError::MemoryLimit { .. }), "{full}");
    assert_eq!((fixture.loaded(), fixture.bytes()), ("a* x*".to_owned(), base + adapter));
    std::fs::remove_file(fixture.dir.path().join("y/adapter_model.safetensors")).unwrap();
    assert!(fixture.models.pin(&fixture.named("ay")).is_err());
    assert_eq!((fixture.loaded(), fixture.bytes()), ("a* x*".to_owned(), base + adapter));
}

#[test]
fn pins_of_many_threads_end_with_nothing() {
    let fixture = Fixture::new(1, 1, u64::MAX);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let fixture = &fixture;
            scope.spawn(move || {
                for turn in 0..8 {
                    let name = ["a", "ax", "b", "bx"][(thread + turn) % 4];
                    let pin = fixture.pin(name);
                    fixture.get(name);
                    drop(pin);
                }
            });
        }
    });
    // What was got after another thread's last pin may stay as anything that is not pinned.
    assert!(!fixture.loaded().contains('*'), "{}", fixture.loaded());
    while fixture.models.drop_oldest() {}
    assert_eq!(fixture.bytes(), 0);
}
