//! A scan of a base's files for numbers that are not finite: one of them would spoil every result, without a word.

use std::path::Path;

use hearth_kernels::first_not_finite;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::weights::Loader;

/// Reads all weights of a model directory once, of block forms the scales alone. The error names the first tensor
/// that holds NaN or infinity, or what else keeps its files from being read.
pub fn check_weights(model_dir: &Path) -> Result<()> {
    let config = ModelConfig::read(model_dir)?;
    for (name, weight) in Loader::open(model_dir, &config)?.stored() {
        if let Some((row, column)) = first_not_finite(&weight) {
            return Err(Error::NotFinite { name, row, column });
        }
    }
    Ok(())
}
