//! The gated MLP in vector lanes over the threads.

use super::{GELU_CUBIC, GELU_ROOT};
use crate::backend::Activation;
use crate::context::Context;
use crate::numbers::{Number, Numbers, NumbersMut, either};
use crate::simd::{exp, per_isa};

/// Elements per task.
const TASK_ELEMENTS: usize = 16 * 1024;

/// Value and derivative of an activation. `GELU` chooses at compile time.
#[inline(always)]
fn activate<const FMA: bool, const GELU: bool>(x: f32) -> (f32, f32) {
    if GELU {
        let (root, cubic) = (GELU_ROOT as f32, GELU_CUBIC as f32);
        let square = x * x;
        let u = root * (x + cubic * x * square);
        let h = 1.0 / (1.0 + exp::<FMA>(-2.0 * u));
        let slope = root * (1.0 + 3.0 * cubic * square);
        // Far out, h (1 - h) is 0 and the slope may overflow: their product must not become NaN.
        let bump = h * (1.0 - h);
        let second = if bump == 0.0 { 0.0 } else { 2.0 * x * bump * slope };
        (x * h, h + second)
    } else {
        let s = 1.0 / (1.0 + exp::<FMA>(-x));
        (x * s, s * (1.0 + x * (1.0 - s)))
    }
}

per_isa! {
    fn forward_silu[T, U](gate: &[T], up: &[T], out: &mut [U]) = fma forward_body_silu;
}
per_isa! {
    fn forward_gelu[T, U](gate: &[T], up: &[T], out: &mut [U]) = fma forward_body_gelu;
}

#[inline(always)]
fn forward_body_silu<const FMA: bool, T: Number, U: Number>(gate: &[T], up: &[T], out: &mut [U]) {
    forward_body::<FMA, false, T, U>(gate, up, out);
}

#[inline(always)]
fn forward_body_gelu<const FMA: bool, T: Number, U: Number>(gate: &[T], up: &[T], out: &mut [U]) {
    forward_body::<FMA, true, T, U>(gate, up, out);
}

#[inline(always)]
fn forward_body<const FMA: bool, const GELU: bool, T: Number, U: Number>(
    gate: &[T],
    up: &[T],
    out: &mut [U],
) {
    for ((o, &g), &u) in out.iter_mut().zip(gate).zip(up) {
        *o = U::of(activate::<FMA, GELU>(g.get()).0 * u.get());
    }
}

per_isa! {
    fn backward_silu[T](dout: &mut [T], gate: &mut [T], up: &mut [T]) = fma backward_body_silu;
}
per_isa! {
    fn backward_gelu[T](dout: &mut [T], gate: &mut [T], up: &mut [T]) = fma backward_body_gelu;
}

#[inline(always)]
fn backward_body_silu<const FMA: bool, T: Number>(dout: &mut [T], gate: &mut [T], up: &mut [T]) {
    backward_body::<FMA, false, T>(dout, gate, up);
}

#[inline(always)]
fn backward_body_gelu<const FMA: bool, T: Number>(dout: &mut [T], gate: &mut [T], up: &mut [T]) {
    backward_body::<FMA, true, T>(dout, gate, up);
}

#[inline(always)]
fn backward_body<const FMA: bool, const GELU: bool, T: Number>(dout: &mut [T], gate: &mut [T], up: &mut [T]) {
    for ((dout, gate), up) in dout.iter_mut().zip(gate).zip(up) {
        let (d, u) = (dout.get(), up.get());
        let (value, slope) = activate::<FMA, GELU>(gate.get());
        *dout = T::of(value * u);
        *up = T::of(d * value);
        *gate = T::of(d * u * slope);
    }
}

fn forward_slices<T: Number, U: Number>(
    ctx: &Context,
    activation: Activation,
    gate: &[T],
    up: &[T],
    out: &mut [U],
) {
    let n = TASK_ELEMENTS;
    let items = out.chunks_mut(n).zip(gate.chunks(n)).zip(up.chunks(n));
    ctx.pool.for_each(items, |((out, gate), up)| match activation {
        Activation::Silu => forward_silu(ctx.mode.isa, gate, up, out),
        Activation::GeluTanh => forward_gelu(ctx.mode.isa, gate, up, out),
    });
}

/// Contract: `Backend::glu`.
pub fn forward(
    ctx: &Context,
    activation: Activation,
    gate: Numbers<'_>,
    up: Numbers<'_>,
    out: NumbersMut<'_>,
) {
    match (gate, up) {
        (Numbers::F32(gate), Numbers::F32(up)) => {
            either!(NumbersMut, out => forward_slices(ctx, activation, gate, up, out));
        }
        (Numbers::Bf16(gate), Numbers::Bf16(up)) => {
            either!(NumbersMut, out => forward_slices(ctx, activation, gate, up, out));
        }
        _ => panic!("gate and up are of one form"),
    }
}

fn backward_slices<T: Number>(
    ctx: &Context,
    activation: Activation,
    dout: &mut [T],
    gate: &mut [T],
    up: &mut [T],
) {
    let n = TASK_ELEMENTS;
    let items = dout.chunks_mut(n).zip(gate.chunks_mut(n)).zip(up.chunks_mut(n));
    ctx.pool.for_each(items, |((dout, gate), up)| match activation {
        Activation::Silu => backward_silu(ctx.mode.isa, dout, gate, up),
        Activation::GeluTanh => backward_gelu(ctx.mode.isa, dout, gate, up),
    });
}

/// Contract: `Backend::glu_backward`.
pub fn backward(ctx: &Context, activation: Activation, buffers: [NumbersMut<'_>; 3]) {
    use NumbersMut::{Bf16, F32};
    match buffers {
        [F32(dout), F32(gate), F32(up)] => backward_slices(ctx, activation, dout, gate, up),
        [Bf16(dout), Bf16(gate), Bf16(up)] => backward_slices(ctx, activation, dout, gate, up),
        _ => panic!("all buffers are of one form"),
    }
}
