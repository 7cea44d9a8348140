//! RMSNorm in vector lanes, rows spread over the threads.

use crate::context::Context;
use crate::numbers::{Number, Numbers, NumbersMut, either};
use crate::simd::{LANES, mul_add, per_isa, sum_lanes};

/// Elements per task.
const TASK_ELEMENTS: usize = 32 * 1024;

fn task_rows(c: usize) -> usize {
    (TASK_ELEMENTS / c.max(1)).max(1)
}

per_isa! {
    fn forward_rows[T, U, V](x: &[T], w: &[f32], eps: f32, out: &mut [U], rstd: &mut [f32], kept: &mut [V])
        = fma forward_body;
}

/// `kept` may be empty.
#[inline(always)]
fn forward_body<const FMA: bool, T: Number, U: Number, V: Number>(
    x: &[T],
    w: &[f32],
    eps: f32,
    out: &mut [U],
    rstd: &mut [f32],
    kept: &mut [V],
) {
    let c = w.len();
    let mut kept = kept.chunks_exact_mut(c);
    for ((x, out), rstd) in x.chunks_exact(c).zip(out.chunks_exact_mut(c)).zip(rstd) {
        let sum = dot::<FMA, T, T>(x, x);
        *rstd = 1.0 / (sum / c as f32 + eps).sqrt();
        for ((o, &x), &w) in out.iter_mut().zip(x).zip(w) {
            *o = U::of(x.get() * *rstd * w);
        }
        if let Some(kept) = kept.next() {
            for (kept, &x) in kept.iter_mut().zip(x) {
                *kept = V::of(x.get());
            }
        }
    }
}

/// Dot product in interleaved sums and a fixed tree.
#[inline(always)]
fn dot<const FMA: bool, T: Number, U: Number>(a: &[T], b: &[U]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = mul_add::<FMA>(a[i].get(), b[i].get(), lanes[i]);
        }
    }
    for (i, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] = mul_add::<FMA>(a.get(), b.get(), lanes[i]);
    }
    sum_lanes(lanes)
}

per_isa! {
    fn backward_rows[T, U, V](dout: &[T], x: &[U], w: &[f32], rstd: &[f32], sum: &mut [f32], out: &mut [V])
        = fma backward_body;
}

/// `sum` and `out` may be empty.
#[inline(always)]
fn backward_body<const FMA: bool, T: Number, U: Number, V: Number>(
    dout: &[T],
    x: &[U],
    w: &[f32],
    rstd: &[f32],
    sum: &mut [f32],
    out: &mut [V],
) {
    let c = w.len();
    let mut g = vec![0.0f32; c];
    let (mut sum, mut out) = (sum.chunks_exact_mut(c), out.chunks_exact_mut(c));
    let rows = dout.chunks_exact(c).zip(x.chunks_exact(c)).zip(rstd);
    for ((dout, x), &rstd) in rows {
        for ((g, &d), &w) in g.iter_mut().zip(dout).zip(w) {
            *g = d.get() * w;
        }
        let factor = dot::<FMA, f32, U>(&g, x) * rstd / c as f32 * rstd;
        let dx = g.iter().zip(x).map(|(&g, &x)| rstd * (g - x.get() * factor));
        match (sum.next(), out.next()) {
            (Some(sum), Some(out)) => {
                for ((sum, out), dx) in sum.iter_mut().zip(out).zip(dx) {
                    *sum += dx;
                    *out = V::of(*sum);
                }
            }
            (Some(sum), None) => sum.iter_mut().zip(dx).for_each(|(sum, dx)| *sum += dx),
            (None, Some(out)) => out.iter_mut().zip(dx).for_each(|(out, dx)| *out = V::of(dx)),
            (None, None) => {}
        }
    }
}

/// Chunks of a slice that may be empty: then empty chunks without end.
fn chunks_or_none<T>(x: &mut [T], size: usize) -> impl Iterator<Item = &mut [T]> {
    x.chunks_mut(size).map(Some).chain(std::iter::repeat_with(|| None)).map(Option::unwrap_or_default)
}

/// Contract: `Backend::rmsnorm`.
pub fn forward(
    ctx: &Context,
    x: Numbers<'_>,
    w: &[f32],
    eps: f32,
    out: NumbersMut<'_>,
    rstd: &mut [f32],
    kept: Option<NumbersMut<'_>>,
) {
    let (c, t) = (w.len(), rstd.len());
    if t * c == 0 {
        return;
    }
    let rows = task_rows(c);
    let (x, out) = (x.part(0, t * c), out.first(t * c));
    let kept = kept.map_or(NumbersMut::F32(&mut []), |kept| kept.first(t * c));
    either!(Numbers, x => either!(NumbersMut, out => either!(NumbersMut, kept => {
        let items = x.chunks(rows * c).zip(out.chunks_mut(rows * c)).zip(rstd.chunks_mut(rows));
        ctx.pool.for_each(items.zip(chunks_or_none(kept, rows * c)), |(((x, out), rstd), kept)| {
            forward_rows(ctx.mode.isa, x, w, eps, out, rstd, kept);
        });
    })));
}

/// Contract: `Backend::rmsnorm_backward`.
pub fn backward(
    ctx: &Context,
    dout: Numbers<'_>,
    x: Numbers<'_>,
    w: &[f32],
    rstd: &[f32],
    sum: Option<&mut [f32]>,
    out: Option<NumbersMut<'_>>,
) {
    let (c, t) = (w.len(), rstd.len());
    if t * c == 0 {
        return;
    }
    let rows = task_rows(c);
    let (dout, x) = (dout.part(0, t * c), x.part(0, t * c));
    let sum = sum.map_or(&mut [][..], |sum| &mut sum[..t * c]);
    let out = out.map_or(NumbersMut::F32(&mut []), |out| out.first(t * c));
    either!(Numbers, dout => either!(Numbers, x => either!(NumbersMut, out => {
        let items = dout
            .chunks(rows * c)
            .zip(x.chunks(rows * c))
            .zip(rstd.chunks(rows))
            .zip(chunks_or_none(sum, rows * c))
            .zip(chunks_or_none(out, rows * c));
        ctx.pool.for_each(items, |((((dout, x), rstd), sum), out)| {
            backward_rows(ctx.mode.isa, dout, x, w, rstd, sum, out);
        });
    })));
}
