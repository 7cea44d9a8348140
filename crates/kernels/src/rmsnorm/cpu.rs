//! RMSNorm in vector lanes, rows spread over the threads.

use crate::context::Context;
use crate::simd::{mul_add, per_isa, reduce};

/// Elements per task.
const TASK_ELEMENTS: usize = 32 * 1024;

fn task_rows(c: usize) -> usize {
    (TASK_ELEMENTS / c.max(1)).max(1)
}

per_isa! {
    fn forward_rows(x: &[f32], w: &[f32], eps: f32, out: &mut [f32], rstd: &mut [f32]) = fma forward_body;
}

#[inline(always)]
fn forward_body<const FMA: bool>(x: &[f32], w: &[f32], eps: f32, out: &mut [f32], rstd: &mut [f32]) {
    let c = w.len();
    for ((x, out), rstd) in x.chunks_exact(c).zip(out.chunks_exact_mut(c)).zip(rstd) {
        let sum = reduce(x, x, |s, a, b| mul_add::<FMA>(a, b, s));
        *rstd = 1.0 / (sum / c as f32 + eps).sqrt();
        for ((o, &x), &w) in out.iter_mut().zip(x).zip(w) {
            *o = x * *rstd * w;
        }
    }
}

per_isa! {
    fn backward_rows(dout: &[f32], x: &[f32], w: &[f32], rstd: &[f32], dx: &mut [f32]) = fma backward_body;
}

#[inline(always)]
fn backward_body<const FMA: bool>(dout: &[f32], x: &[f32], w: &[f32], rstd: &[f32], dx: &mut [f32]) {
    let c = w.len();
    let mut g = vec![0.0f32; c];
    let rows = dout.chunks_exact(c).zip(x.chunks_exact(c)).zip(dx.chunks_exact_mut(c)).zip(rstd);
    for (((dout, x), dx), &rstd) in rows {
        for ((g, &d), &w) in g.iter_mut().zip(dout).zip(w) {
            *g = d * w;
        }
        let dot = reduce(&g, x, |s, a, b| mul_add::<FMA>(a, b, s));
        let factor = dot * rstd / c as f32 * rstd;
        for ((dx, &g), &x) in dx.iter_mut().zip(&g).zip(x) {
            *dx += rstd * (g - x * factor);
        }
    }
}

/// Contract: `Backend::rmsnorm`.
pub fn forward(ctx: &Context, x: &[f32], w: &[f32], eps: f32, out: &mut [f32], rstd: &mut [f32]) {
    let (c, t) = (w.len(), rstd.len());
    if t * c == 0 {
        return;
    }
    let rows = task_rows(c);
    let items = x[..t * c].chunks(rows * c).zip(out[..t * c].chunks_mut(rows * c)).zip(rstd.chunks_mut(rows));
    ctx.pool.for_each(items, |((x, out), rstd)| forward_rows(ctx.mode.isa, x, w, eps, out, rstd));
}

/// Contract: `Backend::rmsnorm_backward`.
pub fn backward(ctx: &Context, dout: &[f32], x: &[f32], w: &[f32], rstd: &[f32], dx: &mut [f32]) {
    let (c, t) = (w.len(), rstd.len());
    if t * c == 0 {
        return;
    }
    let rows = task_rows(c);
    let items = dout[..t * c]
        .chunks(rows * c)
        .zip(x[..t * c].chunks(rows * c))
        .zip(dx[..t * c].chunks_mut(rows * c))
        .zip(rstd.chunks(rows));
    ctx.pool.for_each(items, |(((dout, x), dx), rstd)| backward_rows(ctx.mode.isa, dout, x, w, rstd, dx));
}
