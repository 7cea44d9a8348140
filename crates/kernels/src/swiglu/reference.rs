//! Scalar SwiGLU.

use crate::real::Real;

fn sigmoid<F: Real>(x: F) -> F {
    F::ONE / (F::ONE + (-x).exp())
}

/// Forward.
pub fn forward<F: Real>(gate: &[F], up: &[F], out: &mut [F]) {
    for (i, o) in out.iter_mut().enumerate() {
        *o = gate[i] * sigmoid(gate[i]) * up[i];
    }
}

/// Backward; overwrites both gradients.
pub fn backward<F: Real>(dout: &[F], gate: &[F], up: &[F], dgate: &mut [F], dup: &mut [F]) {
    for i in 0..dout.len() {
        let s = sigmoid(gate[i]);
        dup[i] = dout[i] * gate[i] * s;
        dgate[i] = dout[i] * up[i] * s * (F::ONE + gate[i] * (F::ONE - s));
    }
}
