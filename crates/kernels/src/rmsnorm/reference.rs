//! Scalar RMSNorm.

use crate::real::Real;

/// Forward over the rows of `x`.
pub fn forward<F: Real>(x: &[F], w: &[F], eps: f32, out: &mut [F], rstd: &mut [F]) {
    let c = w.len();
    for (t, rstd) in rstd.iter_mut().enumerate() {
        let x = &x[t * c..][..c];
        let mut sum = F::ZERO;
        for &x in x {
            sum += x * x;
        }
        *rstd = F::ONE / (sum / F::from_f64(c as f64) + F::of(eps)).sqrt();
        for (i, o) in out[t * c..][..c].iter_mut().enumerate() {
            *o = x[i] * *rstd * w[i];
        }
    }
}

/// Backward over the rows of `x`; accumulates into `dx`.
pub fn backward<F: Real>(dout: &[F], x: &[F], w: &[F], rstd: &[F], dx: &mut [F]) {
    let c = w.len();
    for (t, &rstd) in rstd.iter().enumerate() {
        let (dout, x) = (&dout[t * c..][..c], &x[t * c..][..c]);
        let mut dot = F::ZERO;
        for i in 0..c {
            dot += dout[i] * w[i] * x[i];
        }
        let mean = dot * rstd / F::from_f64(c as f64);
        for (i, dx) in dx[t * c..][..c].iter_mut().enumerate() {
            *dx += rstd * (dout[i] * w[i] - x[i] * rstd * mean);
        }
    }
}
