//! Scalar optimiser.

use crate::backend::AdamW;
use crate::optimizer::bias_corrections;
use crate::real::Real;

/// Sum of squares in f64, in order.
pub fn sum_squares<F: Real>(x: &[F]) -> f64 {
    x.iter().map(|x| x.to_f64() * x.to_f64()).sum()
}

/// One AdamW update.
pub fn adamw<F: Real>(param: &mut [F], grad: &[F], m: &mut [F], v: &mut [F], adamw: &AdamW) {
    let (c1, c2) = bias_corrections(adamw);
    let step_size = F::from_f64(f64::from(adamw.learning_rate) / c1);
    let root_c2 = F::from_f64(c2.sqrt());
    let keep = F::ONE - F::of(adamw.learning_rate) * F::of(adamw.weight_decay);
    let (b1, b2) = (F::of(adamw.beta1), F::of(adamw.beta2));
    for i in 0..param.len() {
        let g = grad[i];
        m[i] = b1 * m[i] + (F::ONE - b1) * g;
        v[i] = b2 * v[i] + (F::ONE - b2) * g * g;
        let denominator = v[i].sqrt() / root_c2 + F::of(adamw.eps);
        param[i] = param[i] * keep - step_size * m[i] / denominator;
    }
}
