//! Checkpoints as they lie on disk. `docs/CHECKPOINT.md` specifies the format; this module encodes and reads it.
//!
//! The trainer decides when one is written and which are kept. Whoever else reads one must expect that it is gone in the
//! next moment.

use std::borrow::Cow;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Version of the format.
pub const VERSION: u32 = 1;
/// Plain data of a checkpoint.
pub const STATE_FILE: &str = "state.json";
/// Parameters and moments.
pub const TENSORS_FILE: &str = "tensors.safetensors";
/// Digests of the other two.
pub const SUMS_FILE: &str = "SHA256SUMS";

/// Digests of all that decides the result of a run, in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The fields of `job.json` that the result depends on.
    pub job_sha256: String,
    /// `config.json` and the weight files of the base model.
    pub base_sha256: String,
    /// The training and evaluation files.
    pub data_sha256: String,
    /// The samples made from them: token ids and weights, so also tokenizer and template.
    pub samples_sha256: String,
    /// The adapter that the run goes on from, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start_sha256: Option<String>,
}

impl Identity {
    /// What differs between the run that made a checkpoint and this one, if anything does.
    pub fn difference(&self, now: &Self) -> Option<&'static str> {
        if self.job_sha256 != now.job_sha256 {
            Some("other settings in job.json")
        } else if self.base_sha256 != now.base_sha256 {
            Some("another base model")
        } else if self.data_sha256 != now.data_sha256 {
            Some("other data files")
        } else if self.samples_sha256 != now.samples_sha256 {
            Some("another tokenizer or chat template")
        } else if self.warm_start_sha256 != now.warm_start_sha256 {
            Some("another adapter to go on from")
        } else {
            None
        }
    }
}

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
    /// What the evaluations say of the end; `None` before the first, and in runs that do not end early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Patience>,
}

impl Progress {
    /// The step with the lowest evaluation loss so far, of a run whose best adapter becomes the output.
    pub fn best_step(&self) -> Option<u64> {
        self.patience.as_ref().map(|patience| patience.best_step)
    }
}

/// What the evaluations of a run say of its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patience {
    /// Step with the lowest loss.
    pub best_step: u64,
    /// That loss.
    pub best_loss: f64,
    /// Loss of the last evaluation that was a gain.
    pub gain_loss: f64,
    /// Evaluations in a row that were none.
    pub without_gain: u32,
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
    /// LoRA tensors, as the trainer has them or sorted by name.
    pub tensors: Vec<TensorState>,
}

/// Why a checkpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It does not hold what the format says.
    #[error("{0}")]
    Damaged(String),
    /// It is whole, in another version of the format.
    #[error("it has another version of the checkpoint format; this program knows version {VERSION}")]
    Version,
}

/// Name of the directory of a step.
pub fn directory_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// The step of a directory; `None` for any other name.
pub fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (name == directory_name(step)).then_some(step)
}

/// Steps that have a checkpoint, ascending; none if the directory is not there.
pub fn steps(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut steps = Vec::new();
    for entry in entries {
        steps.extend(entry?.file_name().to_str().and_then(step_of));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Names and contents of the files of a checkpoint, in the order in which they are to be written.
pub fn encode(checkpoint: &Checkpoint) -> [(&'static str, Vec<u8>); 3] {
    let state = serde_json::to_vec_pretty(&checkpoint.state).expect("state is plain data");
    let tensors = encode_tensors(&checkpoint.tensors);
    let sums = sums(&state, &tensors).into_bytes();
    [(STATE_FILE, state), (TENSORS_FILE, tensors), (SUMS_FILE, sums)]
}

/// As `sha256sum` writes and `sha256sum -c` reads it.
fn sums(state: &[u8], tensors: &[u8]) -> String {
    let line = |bytes: &[u8], name| format!("{}  {name}\n", hex::encode(Sha256::digest(bytes)));
    line(state, STATE_FILE) + &line(tensors, TENSORS_FILE)
}

fn encode_tensors(tensors: &[TensorState]) -> Vec<u8> {
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

/// How far the run of a checkpoint had come, without a check of the files; `None` if that cannot be read.
pub fn progress(dir: &Path) -> Option<Progress> {
    let state: State = serde_json::from_slice(&fs::read(dir.join(STATE_FILE)).ok()?).ok()?;
    Some(state.progress)
}

/// Reads the directory of a step. Every way of being wrong is `Damaged`, except a foreign version.
pub fn read(dir: &Path, step: u64) -> Result<Checkpoint, CheckpointError> {
    let damaged = CheckpointError::Damaged;
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
        return Err(CheckpointError::Version);
    }
    let state: State = serde_json::from_value(value).map_err(bad_state)?;
    if state.progress.step != step {
        return Err(damaged(format!("it is of step {}", state.progress.step)));
    }
    let tensors = decode_tensors(&tensors).map_err(|error| damaged(format!("{TENSORS_FILE}: {error}")))?;
    Ok(Checkpoint { state, tensors })
}

fn decode_tensors(bytes: &[u8]) -> Result<Vec<TensorState>, String> {
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
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    #[test]
    fn tensors_of_other_types_and_shapes_are_damage() {
        let bytes = [0u8; 24];
        let file = |dtype: Dtype, m_shape: Vec<usize>| {
            let view = |dtype, shape: Vec<usize>| {
                let len = shape.iter().product::<usize>() * if dtype == Dtype::F32 { 4 } else { 2 };
                TensorView::new(dtype, shape, &bytes[..len]).unwrap()
            };
            let views = [
                ("weight:a", view(dtype, vec![2, 3])),
                ("m:a", view(dtype, m_shape)),
                ("v:a", view(dtype, vec![2, 3])),
            ];
            decode_tensors(&safetensors::serialize(views, None).unwrap()).map(|tensors| tensors.len())
        };
        assert_eq!(file(Dtype::F32, vec![2, 3]), Ok(1));
        assert_eq!(file(Dtype::BF16, vec![2, 3]), Err("weight:a is not f32 of shape [2, 3]".to_owned()));
        assert_eq!(file(Dtype::F32, vec![3]), Err("m:a is not f32 of shape [2, 3]".to_owned()));
    }

    #[test]
    fn names_are_those_of_steps() {
        assert_eq!(directory_name(40), "step-00000040");
        let long = "step-123456789012";
        for (name, expect) in [
            ("step-00000040", Some(40)),
            (long, Some(123_456_789_012)),
            ("step-40", None),
            ("step-0000004x", None),
            (".unfinished-step-00000040", None),
            ("step-+0000040", None),
            ("", None),
        ] {
            assert_eq!(step_of(name), expect, "{name}");
        }
    }
}
