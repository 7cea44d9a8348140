//! SHA-256 over files, samples and settings: what a checkpoint belongs to, and what the model card states.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hearth_data::Sample;
use hearth_model::{ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE};
use hearth_run::JobSpec;
use hearth_run::ledger::RowDigest;
use sha2::{Digest, Sha256};

use crate::error::{TrainError, io_error};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;

/// SHA-256 of one file.
pub fn file(path: &Path) -> Result<String, TrainError> {
    let mut file = File::open(path).map_err(io_error("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let n = file.read(&mut buffer).map_err(io_error("read", path))?;
        if n == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

/// SHA-256 of one file, if it is there.
pub fn file_if_there(path: &Path) -> Result<Option<String>, TrainError> {
    path.exists().then(|| file(path)).transpose()
}

/// SHA-256 of a text.
pub fn text(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// SHA-256 over the digests of several files, in the order given.
pub fn files(paths: &[PathBuf]) -> Result<String, TrainError> {
    Ok(joined(&paths.iter().map(|path| file(path)).collect::<Result<Vec<_>, _>>()?))
}

/// SHA-256 over digests, a line each.
pub fn joined(digests: &[String]) -> String {
    let mut hasher = Sha256::new();
    for digest in digests {
        hasher.update(digest.as_bytes());
        hasher.update(b"\n");
    }
    hex::encode(hasher.finalize())
}

/// SHA-256 over `config.json` and the weight files (`*.gguf`, `*.safetensors`) of a model directory:
/// one line `digest  name` per file, sorted by name.
pub fn base_model(model_dir: &Path) -> Result<String, TrainError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(model_dir).map_err(io_error("read", model_dir))? {
        let name = entry.map_err(io_error("read", model_dir))?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name == "config.json" || name.ends_with(".gguf") || name.ends_with(".safetensors") {
            names.push(name.to_owned());
        }
    }
    names.sort();
    let mut hasher = Sha256::new();
    for name in names {
        hasher.update(format!("{}  {name}\n", file(&model_dir.join(&name))?));
    }
    Ok(hex::encode(hasher.finalize()))
}

/// SHA-256 over the files of an adapter.
pub fn adapter(dir: &Path) -> Result<String, TrainError> {
    files(&[dir.join(ADAPTER_CONFIG_FILE), dir.join(ADAPTER_WEIGHTS_FILE)])
}

/// SHA-256 over the token ids and loss weights of training and evaluation samples.
pub fn samples(train: &[Sample], eval: &[Sample]) -> String {
    let mut hasher = Sha256::new();
    for set in [train, eval] {
        hash(&mut hasher, set);
    }
    hex::encode(hasher.finalize())
}

/// Of the token ids and loss weights of the samples of one row: their number and then, for each, its length and its
/// tokens, each id followed by the bits of its weight. Numbers are little-endian, counts have 64 bits.
pub fn row(samples: &[Sample]) -> RowDigest {
    let mut hasher = Sha256::new();
    hash(&mut hasher, samples);
    RowDigest::finish(hasher)
}

fn hash(hasher: &mut Sha256, samples: &[Sample]) {
    hasher.update((samples.len() as u64).to_le_bytes());
    for sample in samples {
        hasher.update((sample.tokens.len() as u64).to_le_bytes());
        for (token, weight) in sample.tokens.iter().zip(&sample.weights) {
            hasher.update(token.to_le_bytes());
            hasher.update(weight.to_bits().to_le_bytes());
        }
    }
}

/// SHA-256 over the settings that the adapter depends on.
///
/// Left out: file names (contents have digests of their own), names of the base, of datasets and of models, threads, and how
/// often the run is checkpointed and evaluated, unless it may end early.
pub fn job(job: &JobSpec) -> String {
    let relevant = JobSpec {
        base_model_dir: PathBuf::new(),
        base_model_name: String::new(),
        train_files: Vec::new(),
        eval_files: Vec::new(),
        warm_start_dir: None,
        warm_start_name: None,
        data_origins: Vec::new(),
        checkpoint_interval_steps: 0,
        sampler_checkpoint_interval_steps: 0,
        // A run that may end early ends by its evaluations.
        eval_interval_steps: if job.early_stop.is_some() { job.eval_interval_steps } else { 0 },
        threads: 0,
        ..job.clone()
    };
    let text = serde_json::to_vec(&relevant).expect("settings are plain data");
    hex::encode(Sha256::digest(text))
}
