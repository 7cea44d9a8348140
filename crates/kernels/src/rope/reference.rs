//! Scalar rotation.

use crate::real::Real;

/// Rotates every head of every row of `x` `[T, n_heads * head_dim]`.
pub fn rope<F: Real>(
    x: &[F],
    positions: &[u32],
    n_heads: usize,
    head_dim: usize,
    inv_freq: &[f32],
    inverse: bool,
    out: &mut [F],
) {
    let half = head_dim / 2;
    assert_eq!(inv_freq.len(), half, "one frequency per pair");
    for (t, &position) in positions.iter().enumerate() {
        for head in 0..n_heads {
            let own = (t * n_heads + head) * head_dim;
            let (x, out) = (&x[own..][..head_dim], &mut out[own..][..head_dim]);
            for i in 0..half {
                let angle = f64::from(position as f32 * inv_freq[i]);
                let (sin, cos) = (F::from_f64(angle.sin()), F::from_f64(angle.cos()));
                let sin = if inverse { -sin } else { sin };
                let (a, b) = (x[i], x[i + half]);
                out[i] = a * cos - b * sin;
                out[i + half] = b * cos + a * sin;
            }
        }
    }
}
