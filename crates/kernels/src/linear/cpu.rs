//! Linear layers with LoRA over the product kernels.

use crate::backend::LoraSpan;
use crate::context::Context;
use crate::cpu::CpuBuf;
use crate::gemm::{self, Matrix, Side, Start, small};
use crate::weight::WeightBytes;

/// Contract: `Backend::linear`.
#[allow(clippy::too_many_arguments, reason = "the operands of one op")]
pub fn forward(
    ctx: &Context,
    x: &[f32],
    t: usize,
    w: &WeightBytes,
    bias: Option<&[f32]>,
    spans: &[LoraSpan<'_, CpuBuf>],
    mut xa: Option<&mut [CpuBuf]>,
    out: &mut [f32],
) {
    let (n, k) = (w.rows, w.cols);
    let (x, out) = (&x[..t * k], &mut out[..t * n]);
    let start = bias.map_or(Start::Zero, Start::Bias);
    let widest = spans.iter().map(|s| s.rows.len() * s.r).max().unwrap_or(0);
    let mut own_xa = ctx.floats(widest);
    let stored = Matrix::Stored(w);

    if t <= small::MAX_M {
        small::product(&ctx.pool, ctx.mode, x, t, stored, 1.0, start, out);
        for (i, span) in spans.iter().enumerate() {
            let xa = kept_or_own(&mut xa, i, &mut own_xa);
            small_lora(ctx, x, span, xa, n, k, out);
        }
        return;
    }

    let fused = matches!(spans, [span] if span.rows == (0..t));
    let r = if fused { spans[0].r } else { 0 };
    let mut lhs = ctx.lhs(t, &[k, r]);
    ctx.fill_lhs(&mut lhs, 0, x, k, 1.0);
    if !fused {
        gemm::product(&ctx.pool, ctx.mode, lhs.all(), Side::Rows, &[stored], start, out);
    }
    for (i, span) in spans.iter().enumerate() {
        let xa = kept_or_own(&mut xa, i, &mut own_xa);
        let (rows, r) = (span.rows.clone(), span.r);
        if !fused && rows.len() <= small::MAX_M {
            small_lora(ctx, x, span, xa, n, k, out);
            continue;
        }
        let (a, b) = (Matrix::plain(span.a, r, k), Matrix::plain(span.b, n, r));
        let own = lhs.rows(rows.start, rows.len());
        gemm::product(&ctx.pool, ctx.mode, own, Side::Rows, &[a], Start::Zero, xa);
        if fused {
            ctx.fill_lhs(&mut lhs, ctx.mode.words().count(k), xa, r, span.scale);
            gemm::product(&ctx.pool, ctx.mode, lhs.all(), Side::Rows, &[stored, b], start, out);
        } else {
            let mut low = ctx.lhs(rows.len(), &[r]);
            ctx.fill_lhs(&mut low, 0, xa, r, span.scale);
            let out = &mut out[rows.start * n..rows.end * n];
            gemm::product(&ctx.pool, ctx.mode, low.all(), Side::Rows, &[b], Start::Out, out);
        }
    }
}

fn kept_or_own<'a>(kept: &'a mut Option<&mut [CpuBuf]>, i: usize, own: &'a mut [f32]) -> &'a mut [f32] {
    match kept.as_deref_mut() {
        Some(kept) => &mut kept[i],
        None => own,
    }
}

/// The low-rank term of one span of few rows.
fn small_lora(
    ctx: &Context,
    x: &[f32],
    span: &LoraSpan<'_, CpuBuf>,
    xa: &mut [f32],
    n: usize,
    k: usize,
    out: &mut [f32],
) {
    let (rows, r) = (span.rows.clone(), span.r);
    let (a, b) = (Matrix::plain(span.a, r, k), Matrix::plain(span.b, n, r));
    let m = rows.len();
    let x = &x[rows.start * k..rows.end * k];
    small::product(&ctx.pool, ctx.mode, x, m, a, 1.0, Start::Zero, xa);
    let out = &mut out[rows.start * n..rows.end * n];
    small::product(&ctx.pool, ctx.mode, xa, m, b, span.scale, Start::Out, out);
}

/// Contract: `Backend::linear_backward_input`.
pub fn backward_input(
    ctx: &Context,
    dout: &[f32],
    t: usize,
    w: &WeightBytes,
    span: Option<&LoraSpan<'_, CpuBuf>>,
    dx: &mut [f32],
) {
    let (n, k) = (w.rows, w.cols);
    let dx = &mut dx[..t * k];
    let stored = Matrix::Stored(w);
    let fused = span.filter(|s| s.rows == (0..t));
    let mut lhs = ctx.lhs(t, &[n, fused.map_or(0, |s| s.r)]);
    ctx.fill_lhs(&mut lhs, 0, dout, n, 1.0);
    let Some(span) = span else {
        gemm::product(&ctx.pool, ctx.mode, lhs.all(), Side::Cols, &[stored], Start::Out, dx);
        return;
    };
    let (rows, r) = (span.rows.clone(), span.r);
    let (a, b) = (Matrix::plain(span.a, r, k), Matrix::plain(span.b, n, r));
    let mut gb = ctx.floats(rows.len() * r);
    let own = lhs.rows(rows.start, rows.len());
    gemm::product(&ctx.pool, ctx.mode, own, Side::Cols, &[b], Start::Zero, &mut gb);
    if fused.is_some() {
        ctx.fill_lhs(&mut lhs, ctx.mode.words().count(n), &gb, r, span.scale);
        gemm::product(&ctx.pool, ctx.mode, lhs.all(), Side::Cols, &[stored, a], Start::Out, dx);
    } else {
        gemm::product(&ctx.pool, ctx.mode, lhs.all(), Side::Cols, &[stored], Start::Out, dx);
        let mut low = ctx.lhs(rows.len(), &[r]);
        ctx.fill_lhs(&mut low, 0, &gb, r, span.scale);
        let dx = &mut dx[rows.start * k..rows.end * k];
        gemm::product(&ctx.pool, ctx.mode, low.all(), Side::Cols, &[a], Start::Out, dx);
    }
}

/// Contract: `Backend::linear_backward_lora`.
///
/// Both gradients are products with `r` rows and a reduction over the token rows.
pub fn backward_lora(
    ctx: &Context,
    dout: &[f32],
    x: &[f32],
    xa: &[f32],
    span: &LoraSpan<'_, CpuBuf>,
    da: &mut [f32],
    db: &mut [f32],
) {
    let (rows, r) = (span.rows.clone(), span.r);
    if rows.is_empty() || r == 0 {
        return;
    }
    let (k, n, m) = (da.len() / r, db.len() / r, rows.len());
    let dout = &dout[rows.start * n..rows.end * n];
    let x = &x[rows.start * k..rows.end * k];

    let mut gb = ctx.floats(m * r);
    {
        let mut lhs = ctx.lhs(m, &[n]);
        ctx.fill_lhs(&mut lhs, 0, dout, n, 1.0);
        let b = Matrix::plain(span.b, n, r);
        gemm::product(&ctx.pool, ctx.mode, lhs.all(), Side::Cols, &[b], Start::Zero, &mut gb);
    }
    let mut turned = ctx.floats(r * m);
    let mut lhs = ctx.lhs(r, &[m]);
    transpose(&gb, m, r, &mut turned);
    ctx.fill_lhs(&mut lhs, 0, &turned, m, span.scale);
    gemm::product(&ctx.pool, ctx.mode, lhs.all(), Side::Cols, &[Matrix::plain(x, m, k)], Start::Out, da);

    transpose(&xa[..m * r], m, r, &mut turned);
    ctx.fill_lhs(&mut lhs, 0, &turned, m, span.scale);
    let mut db_turned = ctx.floats(r * n);
    let dout = Matrix::plain(dout, m, n);
    gemm::product(&ctx.pool, ctx.mode, lhs.all(), Side::Cols, &[dout], Start::Zero, &mut db_turned);
    for (i, row) in db.chunks_exact_mut(r).enumerate() {
        for (j, x) in row.iter_mut().enumerate() {
            *x += db_turned[j * n + i];
        }
    }
}

/// `[rows, cols]` to `[cols, rows]`.
fn transpose(x: &[f32], rows: usize, cols: usize, out: &mut [f32]) {
    for (i, row) in x.chunks_exact(cols).enumerate() {
        for (j, &x) in row.iter().enumerate() {
            out[j * rows + i] = x;
        }
    }
}
