//! Scalar linear with LoRA.

use crate::backend::{Linear, LoraGrad, LoraSpan};
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

/// `out += x Wᵀ`.
pub fn add_product<F: Real>(x: &[F], t: usize, w: &WeightBytes, out: &mut [F]) {
    let (n_out, k) = (w.rows, w.cols);
    for_each_row::<F>(w, |n, row| {
        for t in 0..t {
            out[t * n_out + n] += dot(&x[t * k..][..k], row);
        }
    });
}

/// `dx += dout W`.
pub fn add_product_back<F: Real>(dout: &[F], t: usize, w: &WeightBytes, dx: &mut [F]) {
    let (n_out, k) = (w.rows, w.cols);
    for_each_row::<F>(w, |n, row| {
        for t in 0..t {
            axpy(dout[t * n_out + n], row, &mut dx[t * k..][..k]);
        }
    });
}

/// Contract: `Backend::linear`.
pub fn forward<F: Real>(
    x: &[F],
    t: usize,
    linears: &[Linear<'_, Vec<F>, WeightBytes>],
    mut kept: Option<&mut [F]>,
    add: bool,
    outs: &mut [&mut Vec<F>],
) {
    let width = rank_sum(linears);
    let mut at = 0;
    for (linear, out) in linears.iter().zip(outs) {
        let (n_out, k) = (linear.weight.rows, linear.weight.cols);
        if !add {
            out[..t * n_out].fill(F::ZERO);
        }
        if let Some(bias) = linear.bias {
            out[..t * n_out].chunks_exact_mut(n_out).for_each(|row| axpy(F::ONE, &bias[..n_out], row));
        }
        add_product(x, t, linear.weight, out);
        for span in &linear.spans {
            for t in span.rows.clone() {
                let mut xa = vec![F::ZERO; span.r];
                for (j, xa) in xa.iter_mut().enumerate() {
                    *xa = F::of(span.scale) * dot(&x[t * k..][..k], &span.a[j * k..][..k]);
                }
                for n in 0..n_out {
                    out[t * n_out + n] += dot(&xa, &span.b[n * span.r..][..span.r]);
                }
                if let Some(kept) = kept.as_deref_mut() {
                    kept[t * width + at..][..span.r].copy_from_slice(&xa);
                }
            }
            at += span.r;
        }
    }
}

fn rank_sum<F>(linears: &[Linear<'_, Vec<F>, WeightBytes>]) -> usize {
    linears.iter().flat_map(|linear| &linear.spans).map(|span| span.r).sum()
}

/// `scale * dout_row B`, `[r]`.
fn scaled_gb<F: Real>(dout: &[F], span: &LoraSpan<'_, Vec<F>>) -> Vec<F> {
    let mut gb = vec![F::ZERO; span.r];
    for (n, &g) in dout.iter().enumerate() {
        axpy(g * F::of(span.scale), &span.b[n * span.r..][..span.r], &mut gb);
    }
    gb
}

/// Contract: `Backend::linear_backward`.
pub fn backward<F: Real>(
    douts: &[&Vec<F>],
    t: usize,
    linears: &[Linear<'_, Vec<F>, WeightBytes>],
    x: &[F],
    xa: Option<&[F]>,
    grads: &mut [Option<LoraGrad<'_, Vec<F>>>],
    mut dx: Option<&mut [F]>,
) {
    let width = rank_sum(linears);
    let mut at = 0;
    for (i, ((linear, dout), grad)) in linears.iter().zip(douts).zip(grads).enumerate() {
        let (n_out, k) = (linear.weight.rows, linear.weight.cols);
        if let Some(dx) = dx.as_deref_mut() {
            if i == 0 {
                dx[..t * k].fill(F::ZERO);
            }
            add_product_back(dout, t, linear.weight, dx);
        }
        for span in &linear.spans {
            for t in 0..t {
                let dout = &dout[t * n_out..][..n_out];
                let gb = scaled_gb(dout, span);
                if let Some(dx) = dx.as_deref_mut() {
                    for (j, &gb) in gb.iter().enumerate() {
                        axpy(gb, &span.a[j * k..][..k], &mut dx[t * k..][..k]);
                    }
                }
                let (Some((da, db)), Some(xa)) = (grad.as_mut(), xa) else { continue };
                for (j, &gb) in gb.iter().enumerate() {
                    axpy(gb, &x[t * k..][..k], &mut da[j * k..][..k]);
                }
                for (n, &g) in dout.iter().enumerate() {
                    axpy(g, &xa[t * width + at..][..span.r], &mut db[n * span.r..][..span.r]);
                }
            }
            at += span.r;
        }
    }
}
