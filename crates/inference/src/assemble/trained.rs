//! Adapters as a trainer holds them: tensors and settings, and no files yet.

use std::fs;
use std::path::Path;

use hearth_model::{ADAPTER_WEIGHTS_FILE, Error, LoraConfig, write_peft};

use super::adapter::{AdapterFacts, of_rank};
use super::base::config_of;
use super::problem::TensorFiles;
use super::{AssembleError, TEMPLATE_FILE, io_error};
use crate::Service;

/// What is known of an adapter besides its numbers.
#[derive(Clone, Copy, Debug)]
pub struct TrainedAdapter<'a> {
    /// What it calls its base.
    pub base_name: &'a str,
    /// Rank.
    pub r: u32,
    /// It is scaled by `alpha / r`.
    pub alpha: f32,
    /// The linears that it was asked to adapt, in PEFT's names.
    pub target_modules: &'a [String],
    /// Chat template that it was trained with, if that is not the base's.
    pub chat_template: Option<&'a str>,
}

/// Writes an adapter's files into the empty directory `from`, as the trainer writes those of a finished run, and goes on
/// as [`adapter`](super::adapter) does; ranks below those of uploads are allowed. `tensors` have PEFT's names. Blocking.
///
/// # Errors
/// As [`adapter`](super::adapter): tensors that do not belong to such an adapter are refused by name.
pub fn trained<'a>(
    service: &Service,
    base_dir: &Path,
    adapter: &TrainedAdapter<'_>,
    tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [f32])>,
    from: &Path,
    dir: &Path,
) -> Result<AdapterFacts, AssembleError> {
    let config = LoraConfig {
        r: adapter.r as usize,
        alpha: adapter.alpha,
        target_modules: config_of(base_dir)?.linears_named(adapter.target_modules),
    };
    let tensors = tensors.map(|(name, shape, values)| {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        (name, shape.to_vec(), bytes)
    });
    write_peft(from, &config, adapter.base_name, tensors).map_err(|error| match error {
        Error::Io { action, path, source } => AssembleError::Io { action, path, source },
        other => AssembleError::Refused(vec![TensorFiles::only(ADAPTER_WEIGHTS_FILE).problem(&other)]),
    })?;
    if let Some(template) = adapter.chat_template {
        let path = from.join(TEMPLATE_FILE);
        fs::write(&path, template).map_err(io_error("write", &path))?;
    }
    of_rank(1..=u32::MAX, service, base_dir, from, dir)
}
