//! The optimiser in vector lanes over the threads.

use crate::backend::AdamW;
use crate::context::Context;
use crate::optimizer::bias_corrections;
use crate::simd::per_isa;

/// Elements of one partial sum of squares.
const BLOCK: usize = 4096;
/// Interleaved f64 sums of a block.
const F64_LANES: usize = 8;
/// Elements per task.
const TASK_ELEMENTS: usize = 16 * BLOCK;

per_isa! {
    /// One partial sum per block of `x`.
    fn block_sums(x: &[f32], sums: &mut [f64]) = block_sums_body;
}

#[inline(always)]
fn block_sums_body(x: &[f32], sums: &mut [f64]) {
    for (x, sum) in x.chunks(BLOCK).zip(sums) {
        let mut lanes = [0.0f64; F64_LANES];
        let (chunks, rest) = x.as_chunks::<F64_LANES>();
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(x) * f64::from(x);
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane += f64::from(x) * f64::from(x);
        }
        *sum = lanes.iter().sum();
    }
}

/// Contract: `Backend::sum_squares`.
pub fn sum_squares(ctx: &Context, x: &[f32]) -> f64 {
    let mut sums = vec![0.0; x.len().div_ceil(BLOCK)];
    let items = x.chunks(TASK_ELEMENTS).zip(sums.chunks_mut(TASK_ELEMENTS / BLOCK));
    ctx.pool.for_each(items, |(x, sums)| block_sums(ctx.mode.isa, x, sums));
    sums.iter().sum()
}

/// The update's constants, in f32.
#[derive(Clone, Copy)]
struct Step {
    keep: f32,
    step_size: f32,
    root_c2: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
}

per_isa! {
    fn update(step: Step, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) = update_body;
}

#[inline(always)]
fn update_body(step: Step, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
    for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
        *m = step.beta1 * *m + (1.0 - step.beta1) * g;
        *v = step.beta2 * *v + (1.0 - step.beta2) * g * g;
        *p = *p * step.keep - step.step_size * *m / (v.sqrt() / step.root_c2 + step.eps);
    }
}

/// Contract: `Backend::adamw`.
pub fn adamw(ctx: &Context, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], adamw: &AdamW) {
    let (c1, c2) = bias_corrections(adamw);
    let step = Step {
        keep: 1.0 - adamw.learning_rate * adamw.weight_decay,
        step_size: (f64::from(adamw.learning_rate) / c1) as f32,
        root_c2: c2.sqrt() as f32,
        beta1: adamw.beta1,
        beta2: adamw.beta2,
        eps: adamw.eps,
    };
    let n = TASK_ELEMENTS;
    let items = param.chunks_mut(n).zip(grad.chunks(n)).zip(m.chunks_mut(n)).zip(v.chunks_mut(n));
    ctx.pool.for_each(items, |(((p, g), m), v)| update(ctx.mode.isa, step, p, g, m, v));
}
