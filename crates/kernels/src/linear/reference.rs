//! Scalar linear with LoRA.

use crate::backend::LoraSpan;
use crate::dequant;
use crate::real::Real;
use crate::weight::WeightBytes;

/// Calls `f(n, row)` for each row of the frozen matrix, expanded.
pub fn for_each_row<F: Real>(w: &WeightBytes, mut f: impl FnMut(usize, &[F])) {
    let mut stored = vec![0.0; w.cols];
    let mut row = vec![F::ZERO; w.cols];
    for n in 0..w.rows {
        dequant::reference::expand(w.dtype, dequant::row_bytes(w, n, 0..w.cols), &mut stored);
        for (o, &x) in row.iter_mut().zip(&stored) {
            *o = F::of(x);
        }
        f(n, &row);
    }
}

/// Sum of products in order.
pub fn dot<F: Real>(a: &[F], b: &[F]) -> F {
    let mut sum = F::ZERO;
    for (&a, &b) in a.iter().zip(b) {
        sum += a * b;
    }
    sum
}

/// `y += s * x`.
pub fn axpy<F: Real>(s: F, x: &[F], y: &mut [F]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += s * x;
    }
}

/// `out = x Wᵀ + bias`.
pub fn forward<F: Real>(x: &[F], t: usize, w: &WeightBytes, bias: Option<&[F]>, out: &mut [F]) {
    let (n_out, k) = (w.rows, w.cols);
    for_each_row::<F>(w, |n, row| {
        for t in 0..t {
            out[t * n_out + n] = dot(&x[t * k..][..k], row) + bias.map_or(F::ZERO, |b| b[n]);
        }
    });
}

/// `xa = x Aᵀ` of the span's rows, then `out += scale * xa Bᵀ`.
pub fn forward_lora<F: Real>(
    x: &[F],
    k: usize,
    n_out: usize,
    span: &LoraSpan<'_, Vec<F>>,
    xa: &mut [F],
    out: &mut [F],
) {
    let r = span.r;
    for (i, t) in span.rows.clone().enumerate() {
        let xa = &mut xa[i * r..][..r];
        for (j, xa) in xa.iter_mut().enumerate() {
            *xa = dot(&x[t * k..][..k], &span.a[j * k..][..k]);
        }
        for n in 0..n_out {
            out[t * n_out + n] += F::of(span.scale) * dot(xa, &span.b[n * r..][..r]);
        }
    }
}

/// `dx += dout W`.
pub fn backward_input<F: Real>(dout: &[F], t: usize, w: &WeightBytes, dx: &mut [F]) {
    let (n_out, k) = (w.rows, w.cols);
    for_each_row::<F>(w, |n, row| {
        for t in 0..t {
            axpy(dout[t * n_out + n], row, &mut dx[t * k..][..k]);
        }
    });
}

/// `scale * dout_row B`, `[r]`.
fn scaled_gb<F: Real>(dout: &[F], span: &LoraSpan<'_, Vec<F>>) -> Vec<F> {
    let mut gb = vec![F::ZERO; span.r];
    for (n, &g) in dout.iter().enumerate() {
        axpy(g * F::of(span.scale), &span.b[n * span.r..][..span.r], &mut gb);
    }
    gb
}

/// `dx += scale * (dout B) A` on the span's rows.
pub fn backward_input_lora<F: Real>(
    dout: &[F],
    n_out: usize,
    k: usize,
    span: &LoraSpan<'_, Vec<F>>,
    dx: &mut [F],
) {
    for t in span.rows.clone() {
        for (j, gb) in scaled_gb(&dout[t * n_out..][..n_out], span).into_iter().enumerate() {
            axpy(gb, &span.a[j * k..][..k], &mut dx[t * k..][..k]);
        }
    }
}

/// `da += scale * (dout B)ᵀ x`, `db += scale * doutᵀ xa` over the span's rows; `xa` begins at its first row.
pub fn backward_lora<F: Real>(
    dout: &[F],
    x: &[F],
    xa: &[F],
    span: &LoraSpan<'_, Vec<F>>,
    da: &mut [F],
    db: &mut [F],
) {
    let r = span.r;
    let (k, n_out) = (da.len() / r, db.len() / r);
    for (i, t) in span.rows.clone().enumerate() {
        let dout = &dout[t * n_out..][..n_out];
        for (j, gb) in scaled_gb(dout, span).into_iter().enumerate() {
            axpy(gb, &x[t * k..][..k], &mut da[j * k..][..k]);
        }
        for (n, &g) in dout.iter().enumerate() {
            axpy(g * F::of(span.scale), &xa[i * r..][..r], &mut db[n * r..][..r]);
        }
    }
}
