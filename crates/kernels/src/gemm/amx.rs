//! Tiles of a product in tile registers (AMX-BF16): up to 32 rows by 32 columns of bf16 pairs.

use std::arch::x86_64::_mm512_load_ps;

use super::avx512::{store, store_bf16};
use super::kernel::{PANEL, TILE_ROWS, Tile};
use crate::amx::{self, COLUMNS, ROWS, Sums, Tiles};
use crate::numbers::Form;

const _: () =
    assert!(PANEL == COLUMNS && TILE_ROWS == ROWS, "a tile of a product is a product in tile registers");

/// bf16 pairs.
///
/// # Safety
/// The operands of the tile must be valid for what it describes, and AVX-512 with BF16 must be available.
pub unsafe fn tile_bf16(tiles: &mut Tiles, tile: Tile<'_>) {
    let terms = tile.terms.iter().map(|term| {
        // SAFETY: same contract.
        let (a, b) = unsafe { tile.operands(term) };
        amx::Term { a, lda: term.lda, b, kw: term.kw }
    });
    // SAFETY: same contract.
    unsafe {
        let sums = tiles.product(terms, tile.mr, tile.nr);
        finish(tile, sums);
    }
}

/// # Safety
/// The output of the tile must be valid for what it describes.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl")]
unsafe fn finish(tile: Tile<'_>, sums: &Sums) {
    for (r, sums) in sums.0[..tile.mr].iter().enumerate() {
        let tile = Tile { row: tile.row + r, mr: 1, ..tile };
        // SAFETY: a row of sums is two aligned vectors; row and columns lie inside the tile.
        unsafe {
            let sums = [_mm512_load_ps(sums.as_ptr()), _mm512_load_ps(sums[16..].as_ptr())];
            match (tile.out.form, tile.nr > 16) {
                (Form::F32, true) => store::<1, 2>(tile, [sums]),
                (Form::F32, false) => store::<1, 1>(tile, [[sums[0]]]),
                (Form::Bf16, true) => store_bf16::<1, 2>(tile, [sums]),
                (Form::Bf16, false) => store_bf16::<1, 1>(tile, [[sums[0]]]),
            }
        }
    }
}
