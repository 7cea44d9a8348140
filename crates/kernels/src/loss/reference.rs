//! Scalar cross-entropy.

use crate::attention::reference::log_sum_exp;
use crate::backend::LossSums;
use crate::linear::reference as linear;
use crate::real::Real;
use crate::weight::WeightBytes;

/// Rows whose logits exist at the same time.
const CHUNK_ROWS: usize = 32;

/// Contract: `Backend::cross_entropy`.
pub fn cross_entropy<F: Real>(
    hidden: &[F],
    head: &WeightBytes,
    targets: &[u32],
    weights: &[f32],
    scale: f32,
    softcap: Option<f32>,
    mut dhidden: Option<&mut [F]>,
) -> LossSums {
    let (vocab, c) = (head.rows, head.cols);
    let mut sums = LossSums::default();
    if let Some(dhidden) = dhidden.as_deref_mut() {
        dhidden[..targets.len() * c].fill(F::ZERO);
    }
    for start in (0..targets.len()).step_by(CHUNK_ROWS) {
        let rows = CHUNK_ROWS.min(targets.len() - start);
        let mut logits = vec![F::ZERO; rows * vocab];
        linear::add_product(&hidden[start * c..][..rows * c], rows, head, &mut logits);
        for i in 0..rows {
            let logits = &mut logits[i * vocab..][..vocab];
            let weight = weights[start + i];
            if weight == 0.0 {
                logits.fill(F::ZERO);
                continue;
            }
            let target = targets[start + i] as usize;
            if let Some(cap) = softcap.map(F::of) {
                logits.iter_mut().for_each(|z| *z = cap * (*z / cap).tanh());
            }
            let capped = logits.to_vec();
            let lse = log_sum_exp(logits);
            sums.loss += f64::from(weight) * (lse - logits[target]).to_f64();
            sums.weight += f64::from(weight);
            let factor = F::of(scale) * F::of(weight);
            for x in logits.iter_mut() {
                *x = factor * (*x - lse).exp();
            }
            logits[target] += -factor;
            if let Some(cap) = softcap.map(F::of) {
                for (x, &z) in logits.iter_mut().zip(&capped) {
                    *x = *x * (F::ONE - z / cap * (z / cap));
                }
            }
        }
        if let Some(dhidden) = dhidden.as_deref_mut() {
            linear::add_product_back(&logits, rows, head, &mut dhidden[start * c..][..rows * c]);
        }
    }
    sums
}
