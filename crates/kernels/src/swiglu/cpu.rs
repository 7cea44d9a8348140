//! SwiGLU in vector lanes over the threads.

use crate::context::Context;
use crate::simd::{exp, per_isa};

/// Elements per task.
const TASK_ELEMENTS: usize = 16 * 1024;

per_isa! {
    fn forward_part(gate: &[f32], up: &[f32], out: &mut [f32]) = fma forward_body;
}

#[inline(always)]
fn forward_body<const FMA: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((o, &g), &u) in out.iter_mut().zip(gate).zip(up) {
        *o = g / (1.0 + exp::<FMA>(-g)) * u;
    }
}

per_isa! {
    fn backward_part(dout: &[f32], gate: &[f32], up: &[f32], dgate: &mut [f32], dup: &mut [f32])
        = fma backward_body;
}

#[inline(always)]
fn backward_body<const FMA: bool>(
    dout: &[f32],
    gate: &[f32],
    up: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) {
    let outputs = dgate.iter_mut().zip(dup);
    for ((((dgate, dup), &d), &g), &u) in outputs.zip(dout).zip(gate).zip(up) {
        let s = 1.0 / (1.0 + exp::<FMA>(-g));
        *dup = d * (g * s);
        *dgate = d * u * (s * (1.0 + g * (1.0 - s)));
    }
}

/// Contract: `Backend::swiglu`.
pub fn forward(ctx: &Context, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let n = TASK_ELEMENTS;
    let items = out.chunks_mut(n).zip(gate.chunks(n)).zip(up.chunks(n));
    ctx.pool.for_each(items, |((out, gate), up)| forward_part(ctx.mode.isa, gate, up, out));
}

/// Contract: `Backend::swiglu_backward`.
pub fn backward(ctx: &Context, dout: &[f32], gate: &[f32], up: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    let n = TASK_ELEMENTS;
    let items =
        dgate.chunks_mut(n).zip(dup.chunks_mut(n)).zip(dout.chunks(n)).zip(gate.chunks(n)).zip(up.chunks(n));
    ctx.pool.for_each(items, |((((dgate, dup), dout), gate), up)| {
        backward_part(ctx.mode.isa, dout, gate, up, dgate, dup);
    });
}
