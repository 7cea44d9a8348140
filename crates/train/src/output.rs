//! `output/`: the adapter, what is needed to use it, and the last check before it counts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hearth_kernels::Backend;
use hearth_model::{ADAPTER_WEIGHTS_FILE, Lora};
use hearth_run::RunDir;

use crate::card;
use crate::checkpoint::{Progress, sync_dir, write_synced};
use crate::digest;
use crate::error::{TrainError, io_error};
use crate::inputs::Inputs;
use crate::learner::Learner;
use crate::ledger::Written;
use crate::{plan, serving};

/// Training rows whose logits the gate compares.
const GATE_ROWS: usize = 3;
/// Tokens of each that it compares: enough to see every tensor at work, little enough to hold the logits.
const GATE_ROW_TOKENS: usize = 48;
/// Logits that exist at the same time in the gate: of the adapter in memory and of the one on disk, and the buffer
/// that they come from.
pub(crate) fn gate_logits(vocab_size: usize) -> usize {
    3 * GATE_ROW_TOKENS * vocab_size
}

/// Writes the adapter beside the output of a run, with its files for serving and its ledger, checks it as it lies on disk,
/// and only then renames it into place.
/// Returns the SHA-256 of `adapter_model.safetensors`.
pub fn write<B: Backend>(
    dir: &RunDir,
    inputs: &Inputs,
    progress: &Progress,
    learner: &mut Learner<B>,
) -> Result<String, TrainError> {
    let output = &dir.output_path();
    let beside = beside(output);
    remove_if_there(&beside)?;
    fs::create_dir_all(&beside).map_err(io_error("create", &beside))?;
    learner.lora().save_peft(&beside, &inputs.job.base_model_name).map_err(|source| TrainError::Model {
        action: "write the adapter to",
        path: beside.clone(),
        source,
    })?;
    for file in &serving::files(&dir.serving_path())? {
        let name = file.file_name().expect("a file has a name");
        fs::copy(file, beside.join(name)).map_err(io_error("copy", file))?;
    }
    let adapter_sha256 = digest::file(&beside.join(ADAPTER_WEIGHTS_FILE))?;
    // The best adapter is not that of the last step.
    let step = progress.best_step().unwrap_or(progress.step);
    let (header, ledger_sha256) =
        hearth_run::write_with_adapter(dir, step, &beside)?.expect("both are written before the first step");
    let adapted = &learner.lora().config().target_modules;
    let ledger = Written { header, sha256: ledger_sha256 };
    let card = card::text(inputs, &ledger, progress, adapted, &adapter_sha256);
    write_synced(&beside.join("README.md"), card.as_bytes())?;
    sync_all(&beside)?;
    gate(&beside, inputs, learner)?;
    remove_if_there(output)?;
    fs::rename(&beside, output).map_err(io_error("rename", &beside))?;
    sync_dir(output.parent().unwrap_or(Path::new(".")))?;
    Ok(adapter_sha256)
}

fn beside(output: &Path) -> PathBuf {
    output.with_extension("unfinished")
}

pub(crate) fn remove_if_there(dir: &Path) -> Result<(), TrainError> {
    if dir.exists() { fs::remove_dir_all(dir).map_err(io_error("remove", dir)) } else { Ok(()) }
}

/// Forces every file of a flat directory to disk.
pub(crate) fn sync_all(dir: &Path) -> Result<(), TrainError> {
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        let path = entry.map_err(io_error("read", dir))?.path();
        File::open(&path).and_then(|file| file.sync_all()).map_err(io_error("sync", &path))?;
    }
    sync_dir(dir)
}

/// Loads the adapter again from disk, which refuses numbers that are not finite; `lora_B` must have left
/// zero, and the logits of a few training rows must equal those of the adapter in memory exactly (same code, same weights).
pub fn gate<B: Backend>(dir: &Path, inputs: &Inputs, learner: &mut Learner<B>) -> Result<(), TrainError> {
    let failed = |message: String| Err(TrainError::Gate { message });
    let loaded = match Lora::load_peft(learner.decoder(), dir) {
        Ok(loaded) => loaded,
        Err(error) => return failed(format!("it cannot be loaded again: {error}")),
    };
    let backend = learner.decoder().backend();
    let mut any_b = false;
    for (name, _, buf) in loaded.tensors().iter() {
        any_b |= name.ends_with("lora_B.weight") && backend.download(buf).iter().any(|&x| x != 0.0);
    }
    if !any_b {
        return failed("all lora_B tensors are zero, so the adapter changes nothing".to_owned());
    }
    for sample in inputs.train.samples.iter().take(GATE_ROWS) {
        let mut head = sample.clone();
        head.tokens.truncate(GATE_ROW_TOKENS);
        head.weights.truncate(GATE_ROW_TOKENS);
        let packed = plan::packed([&head]);
        let trained = learner.logits(None, &packed)?;
        let written = learner.logits(Some(&loaded), &packed)?;
        if trained.iter().any(|x| !x.is_finite()) {
            return failed(format!("the logits of line {} are not finite", sample.line));
        }
        if trained != written {
            return failed(format!(
                "the logits of line {} differ between the trained and the written adapter",
                sample.line
            ));
        }
    }
    Ok(())
}
