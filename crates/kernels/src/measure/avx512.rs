//! Multiply-adds of AVX-512 between registers.

use std::arch::x86_64::*;
use std::hint::black_box;

/// Independent sums: more than latency times units, and no more than there are registers.
const SUMS: usize = 16;
/// Operations of one round of [`f32`]: 16 lanes, a multiplication and an addition each.
pub const F32_FLOP: u64 = SUMS as u64 * 16 * 2;
/// Operations of one round of [`bf16`]: 16 lanes with a pair each.
pub const BF16_FLOP: u64 = SUMS as u64 * 16 * 4;
/// 1 as bf16, twice.
const ONES: i32 = 0x3f80_3f80;

/// `vfmadd` rounds with operands of 1; the sum of all lanes.
#[target_feature(enable = "avx512f")]
pub fn f32(rounds: u64) -> f32 {
    let mut sums = black_box([_mm512_setzero_ps(); SUMS]);
    let (a, b) = (_mm512_set1_ps(black_box(1.0)), _mm512_set1_ps(black_box(1.0)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(a, b, *sum);
        }
    }
    sums.map(|sum| _mm512_reduce_add_ps(sum)).iter().sum()
}

/// `vdpbf16ps` rounds with operands of 1; the sum of all lanes.
#[target_feature(enable = "avx512f,avx512bf16")]
pub fn bf16(rounds: u64) -> f32 {
    let mut sums = black_box([_mm512_setzero_ps(); SUMS]);
    let ones = || _mm512_set1_epi32(black_box(ONES));
    // SAFETY: both are 512 bits without invalid values.
    let (a, b) = unsafe {
        (std::mem::transmute::<__m512i, __m512bh>(ones()), std::mem::transmute::<__m512i, __m512bh>(ones()))
    };
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, a, b);
        }
    }
    sums.map(|sum| _mm512_reduce_add_ps(sum)).iter().sum()
}
