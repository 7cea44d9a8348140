//! Tiles in AVX2 with FMA: up to 6 rows by 16 columns in 12 accumulators, f32 words.

use std::arch::x86_64::*;

use super::kernel::{PANEL, Tile};

const ROWS: usize = 6;
const COLUMNS: usize = 16;

/// f32 words.
///
/// # Safety
/// The operands of the tile must be valid for what it describes.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn tile_f32(tile: Tile<'_>) {
    for row in (0..tile.mr).step_by(ROWS) {
        for column in (0..tile.nr).step_by(COLUMNS) {
            // SAFETY: the part lies inside the tile.
            unsafe {
                match ROWS.min(tile.mr - row) {
                    1 => run::<1>(tile, row, column),
                    2 => run::<2>(tile, row, column),
                    3 => run::<3>(tile, row, column),
                    4 => run::<4>(tile, row, column),
                    5 => run::<5>(tile, row, column),
                    _ => run::<6>(tile, row, column),
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn run<const MR: usize>(tile: Tile<'_>, row: usize, column: usize) {
    let mut sums = [[_mm256_setzero_ps(); 2]; MR];
    for term in tile.terms {
        // SAFETY: reads one word of each of MR rows and half a row of the panel, inside the tile.
        unsafe {
            let (a, b) = tile.operands(term);
            let (mut a, mut b) = (a.add(row * term.lda), b.add(column));
            for _ in 0..term.kw {
                let b0 = _mm256_loadu_ps(b.cast());
                let b1 = _mm256_loadu_ps(b.add(8).cast());
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(f32::from_bits(*a.add(r * term.lda)));
                    sums[0] = _mm256_fmadd_ps(x, b0, sums[0]);
                    sums[1] = _mm256_fmadd_ps(x, b1, sums[1]);
                }
                a = a.add(1);
                b = b.add(PANEL);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let mut values = [0.0f32; COLUMNS];
        // SAFETY: `values` holds two vectors; the row and its columns lie inside the tile.
        unsafe {
            _mm256_storeu_ps(values.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(values.as_mut_ptr().add(8), sums[1]);
            tile.store(row + r, column, &values[..COLUMNS.min(tile.nr - column)]);
        }
    }
}
