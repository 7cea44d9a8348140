//! Tiles in AVX2 with FMA: up to 6 rows by 16 columns in 12 accumulators, f32 words.

use std::arch::x86_64::*;

use super::kernel::{PANEL, Tile};

const ROWS: usize = 6;
const COLUMNS: usize = 16;

/// f32 words.
///
/// # Safety
/// The pointers of the tile must be valid for what it describes.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn tile_f32(tile: Tile) {
    for row in (0..tile.mr).step_by(ROWS) {
        for column in (0..tile.nr).step_by(COLUMNS) {
            // SAFETY: the part lies inside the tile.
            unsafe {
                let part = Tile {
                    a: tile.a.add(row * tile.lda),
                    b: tile.b.add(column),
                    c: tile.c.add(row * tile.ldc + column),
                    mr: ROWS.min(tile.mr - row),
                    nr: COLUMNS.min(tile.nr - column),
                    ..tile
                };
                match part.mr {
                    1 => run::<1>(part),
                    2 => run::<2>(part),
                    3 => run::<3>(part),
                    4 => run::<4>(part),
                    5 => run::<5>(part),
                    _ => run::<6>(part),
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn run<const MR: usize>(tile: Tile) {
    let mut sums = [[_mm256_setzero_ps(); 2]; MR];
    let (mut a, mut b) = (tile.a, tile.b);
    for _ in 0..tile.kw {
        // SAFETY: reads one word of each of MR rows and half a row of the panel, inside the tile.
        unsafe {
            let b0 = _mm256_loadu_ps(b.cast());
            let b1 = _mm256_loadu_ps(b.add(8).cast());
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_set1_ps(f32::from_bits(*a.add(r * tile.lda)));
                sums[0] = _mm256_fmadd_ps(x, b0, sums[0]);
                sums[1] = _mm256_fmadd_ps(x, b1, sums[1]);
            }
            a = a.add(1);
            b = b.add(PANEL);
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let mut values = [0.0f32; COLUMNS];
        // SAFETY: `values` holds two vectors.
        unsafe {
            _mm256_storeu_ps(values.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(values.as_mut_ptr().add(8), sums[1]);
        }
        for (i, value) in values.iter().enumerate().take(tile.nr) {
            // SAFETY: r < mr and i < nr.
            let c = unsafe { &mut *tile.c.add(r * tile.ldc + i) };
            *c = if tile.accumulate { *c + value } else { *value };
        }
    }
}
