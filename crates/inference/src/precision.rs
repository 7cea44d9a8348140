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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A file of tensors, of which only the head is looked at.
    fn file(head: &Value) -> Vec<u8> {
        let head = head.to_string();
        [&(head.len() as u64).to_le_bytes(), head.as_bytes()].concat()
    }

    #[test]
    fn the_form_is_that_of_most_matrices() {
        let dir = tempfile::tempdir().unwrap();
        let stored = || stored_precision(dir.path()).unwrap();
        std::fs::write(dir.path().join("model.gguf"), "no tensors of this kind").unwrap();
        assert_eq!(stored(), None);
        let tensor =
            |dtype: &str, shape: &[usize]| json!({"dtype": dtype, "shape": shape, "data_offsets": [0, 0]});
        let head = json!({
            "__metadata__": {"format": "pt"}, "a": tensor("BF16", &[2, 2]), "b": tensor("BF16", &[2, 3]),
            "c": tensor("F32", &[2, 2]), "norm": tensor("F32", &[2]), "bias": tensor("F32", &[2]),
        });
        let path = dir.path().join("model.safetensors");
        std::fs::write(&path, file(&head)).unwrap();
        assert_eq!(stored().as_deref(), Some("BF16"));
        std::fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
        assert!(stored_precision(dir.path()).is_err());
    }
}
