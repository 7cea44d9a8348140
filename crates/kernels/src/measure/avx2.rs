//! Multiply-adds of AVX2 with FMA between registers.

use std::arch::x86_64::*;
use std::hint::black_box;

/// Independent sums: more than latency times units; 16 registers hold them and the operands.
const SUMS: usize = 12;
/// Operations of one round: 8 lanes, a multiplication and an addition each.
pub const F32_FLOP: u64 = SUMS as u64 * 8 * 2;

/// `vfmadd` rounds with operands of 1; the sum of all lanes.
#[target_feature(enable = "avx2,fma")]
pub fn f32(rounds: u64) -> f32 {
    let mut sums = black_box([_mm256_setzero_ps(); SUMS]);
    let (a, b) = (_mm256_set1_ps(black_box(1.0)), _mm256_set1_ps(black_box(1.0)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(a, b, *sum);
        }
    }
    let mut lanes = [0.0f32; 8];
    let mut total = 0.0;
    for sum in sums {
        // SAFETY: the array has the 8 numbers of the register.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sum) };
        total += lanes.iter().sum::<f32>();
    }
    total
}
