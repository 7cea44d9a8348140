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
    not_finite(&Loader::open(model_dir, &config)?).next().map_or(Ok(()), Err)
}

/// Everything that keeps the base in a model directory from being used, tensor by tensor; its configuration if
/// nothing does. Reads all weights once.
pub fn inspect_base(model_dir: &Path) -> std::result::Result<ModelConfig, Vec<Error>> {
    let config = ModelConfig::read(model_dir).map_err(|error| vec![error])?;
    let open = |config| Loader::open_with_problems(model_dir, config).map_err(|error| vec![error]);
    let (loader, mut problems) = open(&config)?;
    problems.extend(not_finite(&loader));
    problems.extend(loader.problems());
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// One error for each tensor that holds NaN or infinity.
fn not_finite(loader: &Loader<'_>) -> impl Iterator<Item = Error> {
    loader.stored().into_iter().filter_map(|(name, weight)| {
        first_not_finite(&weight).map(|(row, column)| Error::NotFinite { name, row, column })
    })
}
