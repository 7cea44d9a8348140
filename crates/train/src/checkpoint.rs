//! Checkpoints on disk. `docs/CHECKPOINT.md` specifies the format; this module writes and reads it.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::Identity;
use crate::error::{TrainError, io_error};

/// Version of the format.
pub const VERSION: u32 = 1;
/// Checkpoints that are kept: the newest, and one to fall back to when it is damaged.
pub const KEEP: usize = 2;

const STATE_FILE: &str = "state.json";
const TENSORS_FILE: &str = "tensors.safetensors";
const SUMS_FILE: &str = "SHA256SUMS";
/// Directories with this prefix were being written when their trainer died.
const UNFINISHED_PREFIX: &str = ".unfinished-";

/// How far the run has come. All zero and empty at its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Optimiser steps done; also the step of AdamW's bias correction.
    pub step: u64,
    /// Epoch that the next step belongs to, from 0.
    pub epoch: u32,
    /// Steps of that epoch that are done.
    pub step_in_epoch: u64,
    /// Tokens processed.
    pub total_tokens: u64,
    /// Loss of the last step.
    pub train_loss: Option<f64>,
    /// Loss of the last evaluation.
    pub eval_loss: Option<f64>,
    /// Step after which the last evaluation was made; 0 for none.
    pub evaluated_step: u64,
}

/// `state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// How far the run has come.
    pub progress: Progress,
    /// Seed of adapter initialisation and row order. The order of an epoch follows from seed and epoch
    /// alone, so there is no other random state.
    pub seed: u64,
    /// Length of `metrics.jsonl` when the checkpoint was made.
    pub metrics_bytes: u64,
    /// Backend and instruction set that made it.
    pub backend: String,
    /// Settings, base and data that it belongs to.
    pub identity: Identity,
}

/// One LoRA tensor and its moments, all of `shape`, row-major f32.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorState {
    /// PEFT's name, for example `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub name: String,
    /// `[r, K]` for A, `[N, r]` for B.
    pub shape: Vec<usize>,
    /// The parameter.
    pub weight: Vec<f32>,
    /// AdamW's first moment.
    pub m: Vec<f32>,
    /// AdamW's second moment.
    pub v: Vec<f32>,
}

/// All that a run needs to go on as if it had never stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Plain data.
    pub state: State,
    /// LoRA tensors in the adapter's order.
    pub tensors: Vec<TensorState>,
}

/// The `checkpoints/` directory of a run. Its user holds the run's lock.
#[derive(Debug)]
pub struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    /// Makes the directory if needed and removes what a dead trainer left unfinished.
    pub fn open(dir: PathBuf) -> Result<Self, TrainError> {
        fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
        for name in names(&dir)? {
            if name.starts_with(UNFINISHED_PREFIX) {
                remove(&dir.join(name))?;
            }
        }
        Ok(Self { dir })
    }

    /// Writes a checkpoint beside the others, synced and renamed into place, and drops all but the last
    /// [`KEEP`]. Returns its name. Fails with `NonFinite` before anything is written if a number is.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<String, TrainError> {
        let step = checkpoint.state.progress.step;
        for tensor in &checkpoint.tensors {
            let all = tensor.weight.iter().chain(&tensor.m).chain(&tensor.v);
            if all.into_iter().any(|x| !x.is_finite()) {
                let (what, rows) = (tensor.name.clone(), String::new());
                return Err(TrainError::NonFinite { what, step, micro_batch: None, rows });
            }
        }
        let name = directory_name(step);
        let beside = self.dir.join(format!("{UNFINISHED_PREFIX}{name}"));
        let written = write_files(&beside, checkpoint);
        if written.is_err() {
            // The error that matters is the first one; a leftover is removed by the next `open`.
            let _ = fs::remove_dir_all(&beside);
        }
        written?;
        let path = self.dir.join(&name);
        if path.exists() {
            remove(&path)?;
        }
        fs::rename(&beside, &path).map_err(io_error("rename", &beside))?;
        sync_dir(&self.dir)?;
        // Later ones can only be damaged: the run went on from before them.
        let (later, earlier): (Vec<u64>, Vec<u64>) =
            self.steps()?.into_iter().filter(|&other| other != step).partition(|&other| other > step);
        for old in later.iter().chain(earlier.iter().rev().skip(KEEP - 1)) {
            remove(&self.path(*old))?;
        }
        Ok(name)
    }

    /// The newest checkpoint that is whole, and what is wrong with newer ones. A whole one in another
    /// version of the format is an error, not a reason to fall back.
    pub fn newest_good(&self) -> Result<(Option<Checkpoint>, Vec<TrainError>), TrainError> {
        let mut problems = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match read(&self.path(step), step) {
                Ok(checkpoint) => return Ok((Some(checkpoint), problems)),
                Err(problem @ TrainError::Damaged { .. }) => problems.push(problem),
                Err(refused) => return Err(refused),
            }
        }
        Ok((None, problems))
    }

    /// Path of the checkpoint of a step.
    pub fn path(&self, step: u64) -> PathBuf {
        self.dir.join(directory_name(step))
    }

    /// Steps that have a checkpoint, ascending.
    fn steps(&self) -> Result<Vec<u64>, TrainError> {
        let mut steps: Vec<u64> = names(&self.dir)?
            .iter()
            .filter_map(|name| {
                let step = name.strip_prefix("step-")?.parse().ok()?;
                (*name == directory_name(step)).then_some(step)
            })
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }
}

fn directory_name(step: u64) -> String {
    format!("step-{step:08}")
}

fn names(dir: &Path) -> Result<Vec<String>, TrainError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        let entry = entry.map_err(io_error("read", dir))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

fn remove(path: &Path) -> Result<(), TrainError> {
    fs::remove_dir_all(path).map_err(io_error("remove", path))
}

/// Makes a rename or a new file in `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), TrainError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

/// Writes a new file and forces it to disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let mut file = File::create(path).map_err(io_error("create", path))?;
    file.write_all(bytes).map_err(io_error("write", path))?;
    file.sync_all().map_err(io_error("sync", path))
}

fn write_files(dir: &Path, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    fs::create_dir_all(dir).map_err(io_error("create", dir))?;
    let state = serde_json::to_vec_pretty(&checkpoint.state).expect("state is plain data");
    let tensors = encode(&checkpoint.tensors);
    let sums = sums(&state, &tensors);
    write_synced(&dir.join(STATE_FILE), &state)?;
    write_synced(&dir.join(TENSORS_FILE), &tensors)?;
    write_synced(&dir.join(SUMS_FILE), sums.as_bytes())?;
    sync_dir(dir)
}

/// As `sha256sum` writes and `sha256sum -c` reads it.
fn sums(state: &[u8], tensors: &[u8]) -> String {
    let line = |bytes: &[u8], name| format!("{}  {name}\n", hex::encode(Sha256::digest(bytes)));
    line(state, STATE_FILE) + &line(tensors, TENSORS_FILE)
}

fn encode(tensors: &[TensorState]) -> Vec<u8> {
    let parts = tensors.iter().flat_map(|TensorState { name, shape, weight, m, v }| {
        [("weight", weight), ("m", m), ("v", v)]
            .map(|(kind, values)| (format!("{kind}:{name}"), Values { shape, values }))
    });
    safetensors::serialize(parts, None).expect("names are unique and shapes are right")
}

/// f32 numbers that become bytes when they are written, so that there is no second copy of all.
struct Values<'a> {
    shape: &'a [usize],
    values: &'a [f32],
}

impl View for Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// Reads one checkpoint directory. Every way of being wrong is `Damaged`, except a foreign version.
fn read(dir: &Path, step: u64) -> Result<Checkpoint, TrainError> {
    let damaged = |message: String| TrainError::Damaged { path: dir.to_owned(), message };
    let load = |name: &str| {
        fs::read(dir.join(name)).map_err(|error| damaged(format!("cannot read {name}: {error}")))
    };
    let (state, tensors, sums_found) = (load(STATE_FILE)?, load(TENSORS_FILE)?, load(SUMS_FILE)?);
    if sums_found != sums(&state, &tensors).as_bytes() {
        return Err(damaged(format!("its files do not have the digests in {SUMS_FILE}")));
    }
    let bad_state = |error| damaged(format!("{STATE_FILE} is not what version {VERSION} says: {error}"));
    let value: serde_json::Value = serde_json::from_slice(&state).map_err(bad_state)?;
    if value["version"] != VERSION {
        return Err(TrainError::OtherRun {
            path: dir.to_owned(),
            what: "another version of the checkpoint format",
        });
    }
    let state: State = serde_json::from_value(value).map_err(bad_state)?;
    if state.progress.step != step {
        return Err(damaged(format!("it is of step {}", state.progress.step)));
    }
    let tensors = decode(&tensors).map_err(|error| damaged(format!("{TENSORS_FILE}: {error}")))?;
    Ok(Checkpoint { state, tensors })
}

fn decode(bytes: &[u8]) -> Result<Vec<TensorState>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let values = |kind: &str, name: &str, shape: &[usize]| {
        let view = file.tensor(&format!("{kind}:{name}")).map_err(|error| error.to_string())?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            return Err(format!("{kind}:{name} is not f32 of shape {shape:?}"));
        }
        Ok(view.data().as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
    };
    let mut names: Vec<&str> = file.names().iter().filter_map(|name| name.strip_prefix("weight:")).collect();
    names.sort_unstable();
    names
        .into_iter()
        .map(|name| {
            let weight = file.tensor(&format!("weight:{name}")).map_err(|error| error.to_string())?;
            let shape = weight.shape().to_vec();
            let (weight, m, v) =
                (values("weight", name, &shape)?, values("m", name, &shape)?, values("v", name, &shape)?);
            Ok(TensorState { name: name.to_owned(), shape, weight, m, v })
        })
        .collect()
}

#[cfg(test)]
mod tests;
