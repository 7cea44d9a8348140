//! How fast this machine can multiply and add at all: the ceiling that products are compared with.
//!
//! A chain is a loop over independent accumulators in registers. It touches no memory, so what it reaches is the rate
//! of the multiply-add units at the clock that the machine holds while all threads use them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::context::Context;
use crate::gemm::{Mode, Words};
use crate::options::Isa;

/// Time of one measured run: long beside handing it to a waiting thread, short beside what else a machine does.
const RUN_SECONDS: f64 = 0.001;
/// Measured runs; the fastest of each thread counts.
const RUNS: u32 = 200;
/// Rounds of the first try, which finds out how many a run takes.
const FIRST_ROUNDS: u64 = 1 << 12;

/// Floating-point operations per second of multiply-adds in registers, while all threads do nothing else: the sum over
/// the threads of the best rate of each. A multiplication and an addition count as two. Takes about a fifth of a
/// second.
///
/// Each thread looks at its own clock, so that a machine which seldom gives all threads a core at once is not
/// taken for a slow one. Where two threads share a core that is busy otherwise, the sum can be too high.
pub fn peak_flop_per_second(ctx: &Context) -> f64 {
    let (mode, threads) = (ctx.mode, ctx.pool.threads());
    let flop_per_round = flop_per_round(mode) as f64;
    let best = Mutex::new(vec![0.0f64; threads]);
    let run = |rounds: u64| {
        ctx.pool.run(threads, |task| {
            let started = Instant::now();
            black_box(chain(mode, black_box(rounds)));
            let seconds = started.elapsed().as_secs_f64().max(1e-9);
            let best = &mut best.lock().unwrap_or_else(PoisonError::into_inner)[task];
            *best = best.max(flop_per_round * rounds as f64 / seconds);
        });
    };
    let total = || best.lock().unwrap_or_else(PoisonError::into_inner).iter().sum::<f64>();
    run(FIRST_ROUNDS);
    let rounds_per_second = total() / threads as f64 / flop_per_round;
    let rounds = ((rounds_per_second * RUN_SECONDS) as u64).max(FIRST_ROUNDS);
    for _ in 0..RUNS {
        run(rounds);
    }
    total()
}

/// Accumulators of the plain chain.
const PLAIN_LANES: usize = 32;

/// Operations of one round of [`chain`].
fn flop_per_round(mode: Mode) -> u64 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if mode.tiles {
        return crate::amx::CHAIN_FLOP;
    }
    match (mode.isa, mode.words()) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Bf16, Words::Bf16Pairs) => avx512::BF16_FLOP,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Bf16 | Isa::Avx512, _) => avx512::F32_FLOP,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, _) => avx2::F32_FLOP,
        _ => 2 * PLAIN_LANES as u64,
    }
}

/// `rounds` rounds of the multiply-adds that tiles of this mode are made of. The sum keeps them from being left out.
fn chain(mode: Mode, rounds: u64) -> f32 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if mode.tiles {
        // SAFETY: as below.
        return unsafe { crate::amx::with(|tiles| tiles.chain(rounds)) };
    }
    match (mode.isa, mode.words()) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an instruction set reaches this place only if it is available.
        (Isa::Avx512Bf16, Words::Bf16Pairs) => unsafe { avx512::bf16(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Isa::Avx512Bf16 | Isa::Avx512, _) => unsafe { avx512::f32(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Isa::Avx2, _) => unsafe { avx2::f32(rounds) },
        _ => plain(rounds),
    }
}

fn plain(rounds: u64) -> f32 {
    let mut sums = black_box([0.0f32; PLAIN_LANES]);
    let (a, b) = (black_box(0.5f32), black_box(1.0f32));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = *sum * a + b;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests;
