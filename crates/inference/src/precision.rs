//! In which form a base's weights are stored. They are computed with as they are stored.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::InferenceError;

/// Longest head of a file of tensors that is read.
const HEAD_MAX_BYTES: u64 = 64 << 20;

/// The form of most matrices of a base in `dir`, as safetensors calls it: `BF16`, `F16` or `F32`. `None` if they are
/// stored in another kind of file.
pub fn stored_precision(dir: &Path) -> Result<Option<String>, InferenceError> {
    let failed = |source| InferenceError::ModelDir { dir: dir.to_owned(), source };
    let mut matrices: BTreeMap<String, usize> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            for dtype in dtypes(&path).map_err(failed)? {
                *matrices.entry(dtype).or_default() += 1;
            }
        }
    }
    Ok(matrices.into_iter().max_by_key(|(_, count)| *count).map(|(dtype, _)| dtype))
}

/// The form of each matrix of a file.
fn dtypes(path: &Path) -> std::io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let mut len = [0; 8];
    file.read_exact(&mut len)?;
    let len = u64::from_le_bytes(len);
    if len > HEAD_MAX_BYTES {
        return Err(std::io::Error::other("the head of a file of tensors is too long"));
    }
    let mut head = Vec::new();
    file.take(len).read_to_end(&mut head)?;
    let head: Value = serde_json::from_slice(&head)?;
    let matrix = |tensor: &Value| {
        let is_matrix = tensor["shape"].as_array().is_some_and(|shape| shape.len() == 2);
        is_matrix.then(|| tensor["dtype"].as_str().map(str::to_owned)).flatten()
    };
    Ok(head.as_object().into_iter().flatten().filter_map(|(_, tensor)| matrix(tensor)).collect())
}
