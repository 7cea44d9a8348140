//! One optimiser step and one evaluation: the arithmetic of training, without files or events.

use std::path::Path;

use hearth_kernels::{AdamW, Backend, LossSums};
use hearth_model::{Decoder, Lora, LoraGrads, LoraTensors, Packed, Workspace};

use crate::checkpoint::TensorState;
use crate::error::TrainError;

/// AdamW's first moment decay, Hugging Face's default.
pub const ADAM_BETA1: f32 = 0.9;
/// AdamW's second moment decay.
pub const ADAM_BETA2: f32 = 0.999;
/// AdamW's epsilon.
pub const ADAM_EPS: f32 = 1e-8;

/// What one optimiser step saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss per trained token, weighted.
    pub loss: f64,
    /// L2 norm of the gradient over all LoRA tensors.
    pub grad_norm: f64,
}

/// A base model, the adapter that is trained on it, and the optimiser's state.
pub struct Learner<B: Backend> {
    decoder: Decoder<B>,
    lora: Lora<B>,
    grads: LoraGrads<B>,
    m: LoraTensors<B>,
    v: LoraTensors<B>,
    workspace: Workspace<B>,
}

impl<B: Backend> Learner<B> {
    /// Moments start at zero.
    pub fn new(decoder: Decoder<B>, lora: Lora<B>) -> Self {
        let zeros = || lora.tensors().zeros_like();
        let (grads, m, v) = (zeros(), zeros(), zeros());
        let workspace = Workspace::new(&decoder);
        Self { decoder, lora, grads, m, v, workspace }
    }

    /// The base.
    pub fn decoder(&self) -> &Decoder<B> {
        &self.decoder
    }

    /// The adapter as it is now.
    pub fn lora(&self) -> &Lora<B> {
        &self.lora
    }

    /// The first so many blocks run forward again in the backward pass instead of keeping their activations.
    pub fn set_recomputed_blocks(&mut self, blocks: usize) {
        self.workspace.set_recomputed_blocks(blocks);
    }

    /// Takes all the memory that a step over this micro-batch takes, by making its gradients and throwing them away.
    pub fn try_out(&mut self, packed: &Packed) -> Result<(), TrainError> {
        self.decoder
            .loss_and_grads(&self.lora, packed, 1.0, &mut self.grads, &mut self.workspace)
            .map(drop)
            .map_err(|source| TrainError::Batch { source })
    }

    /// One optimiser step over all its micro-batches.
    ///
    /// The loss is divided once, by the weights of the whole step, so that the split into micro-batches
    /// changes nothing but rounding. Fails with `NonFinite` before any parameter or moment is touched.
    pub fn step(&mut self, micro_batches: &[Packed], adamw: &AdamW) -> Result<StepResult, TrainError> {
        let total_weight: f64 =
            micro_batches.iter().flat_map(|packed| &packed.weights).map(|&weight| f64::from(weight)).sum();
        assert!(total_weight > 0.0, "a step has trained tokens");
        let scale = (1.0 / total_weight) as f32;
        self.grads.clear();
        let mut loss_sum = 0.0;
        for (i, packed) in micro_batches.iter().enumerate() {
            let sums = self
                .decoder
                .loss_and_grads(&self.lora, packed, scale, &mut self.grads, &mut self.workspace)
                .map_err(|source| TrainError::Batch { source })?;
            if !sums.loss.is_finite() {
                return Err(non_finite("the loss".to_owned(), adamw.step, Some(i)));
            }
            loss_sum += sums.loss;
        }
        let grad_norm = self
            .grad_norm()
            .map_err(|what| non_finite(format!("the gradient of {what}"), adamw.step, None))?;
        self.update(adamw);
        Ok(StepResult { loss: loss_sum / total_weight, grad_norm })
    }

    /// L2 norm over all tensors; or the name of the tensor where the gradient stops being finite. The backward pass
    /// goes from the last tensor to the first, so that is the last one.
    fn grad_norm(&self) -> Result<f64, String> {
        let backend = self.decoder.backend();
        let sums: Vec<_> =
            self.grads.iter().map(|(name, _, grad)| (name, backend.sum_squares(grad))).collect();
        match sums.iter().rev().find(|(_, sum)| !sum.is_finite()) {
            Some((name, _)) => Err((*name).to_owned()),
            None => Ok(sums.iter().map(|(_, sum)| sum).sum::<f64>().sqrt()),
        }
    }

    /// Weight decay applies to all LoRA tensors: there are no biases or norms among them.
    fn update(&mut self, adamw: &AdamW) {
        let backend = self.decoder.backend();
        let params = self.lora.tensors_mut().iter_mut();
        for ((((_, _, param), (_, _, grad)), (_, _, m)), (_, _, v)) in
            params.zip(self.grads.iter()).zip(self.m.iter_mut()).zip(self.v.iter_mut())
        {
            backend.adamw(param, grad, m, v, adamw);
        }
    }

    /// Loss sums of one micro-batch, without gradients; they need not be finite.
    pub fn loss(&mut self, packed: &Packed) -> Result<LossSums, TrainError> {
        self.decoder
            .loss(Some(&self.lora), packed, &mut self.workspace)
            .map_err(|source| TrainError::Batch { source })
    }

    /// Logits `[T, V]` of all rows, with the adapter in memory or with another one.
    pub fn logits(&mut self, other: Option<&Lora<B>>, packed: &Packed) -> Result<Vec<f32>, TrainError> {
        let lora = other.unwrap_or(&self.lora);
        let rows: Vec<u32> = (0..packed.len() as u32).collect();
        self.decoder
            .logits(Some(lora), packed, &rows, &mut self.workspace)
            .map_err(|source| TrainError::Batch { source })
    }

    /// Parameters and moments for a checkpoint.
    pub fn state(&self) -> Vec<TensorState> {
        let backend = self.decoder.backend();
        let params = self.lora.tensors().iter();
        params
            .zip(self.m.iter())
            .zip(self.v.iter())
            .map(|(((name, shape, weight), (_, _, m)), (_, _, v))| TensorState {
                name: name.to_owned(),
                shape: shape.to_vec(),
                weight: backend.download(weight),
                m: backend.download(m),
                v: backend.download(v),
            })
            .collect()
    }

    /// Takes over a checkpoint's parameters and moments, which may be in any order. `path` names the
    /// checkpoint in the error for tensors that are not this adapter's.
    pub fn restore(&mut self, tensors: &[TensorState], path: &Path) -> Result<(), TrainError> {
        let damaged = |message: String| TrainError::Damaged { path: path.to_owned(), message };
        let expected = self.lora.tensors().len();
        if tensors.len() != expected {
            return Err(damaged(format!("it has {} tensors, the adapter has {expected}", tensors.len())));
        }
        let backend = self.decoder.backend();
        let params = self.lora.tensors_mut().iter_mut();
        for (((name, shape, param), (_, _, m)), (_, _, v)) in
            params.zip(self.m.iter_mut()).zip(self.v.iter_mut())
        {
            let stored = tensors
                .iter()
                .find(|tensor| tensor.name == name && tensor.shape == shape)
                .ok_or_else(|| damaged(format!("it has no tensor {name} of shape {shape:?}")))?;
            backend.write(param, &stored.weight);
            backend.write(m, &stored.m);
            backend.write(v, &stored.v);
        }
        Ok(())
    }
}

/// The caller knows the rows.
fn non_finite(what: String, step: u64, micro_batch: Option<usize>) -> TrainError {
    TrainError::NonFinite { what, step, micro_batch, rows: String::new() }
}
