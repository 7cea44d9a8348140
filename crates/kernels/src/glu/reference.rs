//! Scalar gated MLP.

use crate::backend::Activation;
use crate::real::Real;

/// Value and derivative of an activation.
fn activate<F: Real>(activation: Activation, x: F) -> (F, F) {
    match activation {
        Activation::Silu => {
            let s = F::ONE / (F::ONE + (-x).exp());
            (x * s, s * (F::ONE + x * (F::ONE - s)))
        }
        Activation::GeluTanh => {
            let (half, root, cubic) =
                (F::from_f64(0.5), F::from_f64(super::GELU_ROOT), F::from_f64(super::GELU_CUBIC));
            let inner = root * (x + cubic * x * x * x);
            let tanh = inner.tanh();
            let slope = root * (F::ONE + F::from_f64(3.0) * cubic * x * x);
            (half * x * (F::ONE + tanh), half * (F::ONE + tanh) + half * x * (F::ONE - tanh * tanh) * slope)
        }
    }
}

/// Forward.
pub fn forward<F: Real>(activation: Activation, gate: &[F], up: &[F], out: &mut [F]) {
    for (i, o) in out.iter_mut().enumerate() {
        *o = activate(activation, gate[i]).0 * up[i];
    }
}

/// Backward, in place.
pub fn backward<F: Real>(activation: Activation, dout: &mut [F], gate: &mut [F], up: &mut [F]) {
    for i in 0..dout.len() {
        let (value, slope) = activate(activation, gate[i]);
        let (d, u) = (dout[i], up[i]);
        dout[i] = value * u;
        gate[i] = d * u * slope;
        up[i] = d * value;
    }
}
