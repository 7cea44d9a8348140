//! What the fuzz targets share: inputs of several files, model directories, and what must hold for every input.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hearth_kernels::Reference;
use hearth_model::{Decoder, Packed, Workspace};
use tempfile::TempDir;

#[path = "../../crates/model/tests/common/mod.rs"]
pub mod common;

/// Stands between the files of one input.
pub const SEPARATOR: &[u8] = b"\n%%%%\n";
/// Longest text of an error: whatever a file holds, a person has to be able to read what is wrong with it.
const MAX_ERROR_BYTES: usize = 4096;

/// The files of one input.
pub fn parts(input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        parts.push(&rest[..at]);
        rest = &rest[at + SEPARATOR.len()..];
    }
    parts.push(rest);
    parts
}

/// The directory of a small tokenizer with a chat template.
pub fn tokenizer_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/data/tests/fixtures/tiny")
}

/// An empty directory, in memory where the system has such a place.
pub fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("temporary directory")
}

/// Writes a file of a directory. The old one is removed first, so that a mapping of it keeps its bytes.
pub fn write(dir: &TempDir, name: &str, bytes: &[u8]) {
    let path = dir.path().join(name);
    let _ = fs::remove_file(&path);
    fs::write(path, bytes).expect("writes");
}

/// A refusal is one readable text.
pub fn refused(error: impl Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() <= MAX_ERROR_BYTES, "text of {} bytes", text.len());
}

/// Loads a directory; a model that loads also runs.
pub fn load(dir: &TempDir) {
    match Decoder::load(Arc::new(Reference::<f32>::new()), dir.path()) {
        Err(error) => refused(error),
        Ok(decoder) => {
            let mut packed = Packed::default();
            packed.push(&[0, 0], &[1.0, 1.0]);
            match decoder.logits(None, &packed, &[1], &mut Workspace::new(&decoder)) {
                Err(error) => refused(error),
                Ok(logits) => assert_eq!(logits.len(), decoder.config().vocab_size),
            }
        }
    }
}
