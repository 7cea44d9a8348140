//! Weights of a Hugging Face model directory: one `model.safetensors`, or shards with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ::safetensors::{Dtype, SafeTensors};
use hearth_kernels::weight::{WeightBytes, WeightDtype};

use crate::error::{Error, Result, read_json};
use crate::map::{SharedBytes, map_file};

/// Name of the unsharded file.
pub const SINGLE_FILE: &str = "model.safetensors";
/// Name of the index of a sharded model.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
/// Most shards of one model.
pub const MAX_SHARDS: usize = 1024;

/// One tensor of a mapped file.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    bytes: SharedBytes,
    range: Range<usize>,
}

impl Tensor {
    /// As a matrix `[N, K]` that shares the file's bytes; a vector is one row.
    pub(crate) fn matrix(&self, name: &str) -> Result<WeightBytes> {
        let dtype = match self.dtype {
            Dtype::F32 => WeightDtype::F32,
            Dtype::F16 => WeightDtype::F16,
            Dtype::BF16 => WeightDtype::Bf16,
            other => {
                return Err(Error::tensor(
                    name,
                    format!("type {other:?} is not supported, only F32, F16 and BF16"),
                ));
            }
        };
        if self.shape.contains(&0) {
            return Err(Error::tensor(name, format!("shape {:?} is empty", self.shape)));
        }
        let (rows, cols) = match self.shape[..] {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => return Err(Error::tensor(name, format!("shape {:?} is not a matrix", self.shape))),
        };
        Ok(WeightBytes::new(dtype, rows, cols, Arc::clone(&self.bytes), self.range.clone()))
    }
}

/// All tensors of a directory's safetensors files, by name, and everything that is wrong with the others. The error is
/// for a directory whose only file, or whose index, cannot be read.
pub(crate) fn open_dir(dir: &Path) -> Result<(BTreeMap<String, Tensor>, Vec<Error>)> {
    let index_path = dir.join(INDEX_FILE);
    if !index_path.exists() {
        return Ok((open_file(&dir.join(SINGLE_FILE))?, Vec::new()));
    }
    let index = read_json(&index_path)?;
    let damaged = |reason: &str| Error::Safetensors { path: index_path.clone(), reason: reason.to_owned() };
    let map = index["weight_map"].as_object().ok_or_else(|| damaged("weight_map is missing"))?;
    let mut shards = BTreeSet::new();
    for file in map.values() {
        let file =
            file.as_str().ok_or_else(|| damaged("weight_map holds something that is not a file name"))?;
        if file.contains(['/', '\\']) || !file.ends_with(".safetensors") {
            return Err(damaged(
                "weight_map names a file that is not a .safetensors file in the same directory",
            ));
        }
        shards.insert(file);
    }
    if shards.len() > MAX_SHARDS {
        return Err(damaged("weight_map names too many files"));
    }
    let (mut tensors, mut problems) = (BTreeMap::new(), Vec::new());
    let mut unread = BTreeSet::new();
    for shard in shards {
        let found = match open_file(&dir.join(shard)) {
            Ok(found) => found,
            Err(error) => {
                problems.push(error);
                unread.insert(shard);
                continue;
            }
        };
        for (name, tensor) in found {
            if map.get(&name).and_then(|file| file.as_str()) != Some(shard) {
                problems.push(Error::tensor(name, format!("is in {shard}, but the index does not say so")));
                continue;
            }
            tensors.insert(name, tensor);
        }
    }
    for (name, file) in map {
        // What a file would hold that cannot be read is not known.
        if !tensors.contains_key(name) && !file.as_str().is_some_and(|file| unread.contains(file)) {
            problems.push(Error::tensor(name, "is in the index, but its file does not hold it"));
        }
    }
    Ok((tensors, problems))
}

/// All tensors of one file, by name.
pub(crate) fn open_file(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = map_file(path)?;
    let data: &[u8] = (*bytes).as_ref();
    let damaged = |e| Error::Safetensors { path: path.to_owned(), reason: format!("damaged: {e}") };
    let file = SafeTensors::deserialize(data).map_err(damaged)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        // The view is a part of `data`; its place there is what a shared weight needs.
        let start = view.data().as_ptr().addr() - data.as_ptr().addr();
        let range = start..start + view.data().len();
        let tensor =
            Tensor { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: Arc::clone(&bytes), range };
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(tensors)
}
