//! Tiles of a product in tile registers (AMX): up to 32 rows by 32 columns of bf16 pairs or 8-bit integers.

use std::arch::x86_64::_mm512_load_ps;

use super::avx512::{store, store_bf16};
use super::int8::GROUP_WORDS;
use super::kernel::{Int8, PANEL, TILE_ROWS, Term, Tile};
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

/// Terms of integers and of bf16 pairs. Each is computed by itself and added in f32.
///
/// # Safety
/// The operands of the tile must be valid for what it describes, and AVX-512 with BF16 must be available.
pub unsafe fn tile_int8(tiles: &mut Tiles, tile: Tile<'_>) {
    let mut sums = Sums([[0.0; COLUMNS]; ROWS]);
    for term in tile.terms {
        // SAFETY: same contract.
        unsafe {
            match &term.int8 {
                Some(int8) => add_integers(tiles, &tile, term, int8, &mut sums),
                None => {
                    let (a, b) = tile.operands(term);
                    let term = amx::Term { a, lda: term.lda, b, kw: term.kw };
                    let part = tiles.product([term], tile.mr, tile.nr);
                    for (sum, x) in sums.0.as_flattened_mut().iter_mut().zip(part.0.as_flattened()) {
                        *sum += x;
                    }
                }
            }
        }
    }
    // SAFETY: same contract.
    unsafe { finish(tile, &sums) };
}

/// # Safety
/// The operands of the tile must be valid for what it describes.
unsafe fn add_integers(tiles: &mut Tiles, tile: &Tile<'_>, term: &Term, int8: &Int8, sums: &mut Sums) {
    let mut columns = [1.0; COLUMNS];
    if !int8.scales.is_null() {
        for (i, scale) in columns[..tile.nr].iter_mut().enumerate() {
            // SAFETY: each column of the tile has a scale.
            *scale = unsafe { *int8.scales.add(tile.panel * PANEL + i) };
        }
    }
    for (group, first) in (0..term.kw).step_by(GROUP_WORDS).enumerate() {
        let kw = GROUP_WORDS.min(term.kw - first);
        // SAFETY: the group lies in the term.
        let integers = unsafe {
            let (a, b) = tile.operands(term);
            let group = amx::Term { a: a.add(first), lda: term.lda, b: b.add(first * PANEL), kw };
            tiles.integers(group, tile.mr, tile.nr)
        };
        for (r, (sums, integers)) in sums.0[..tile.mr].iter_mut().zip(integers).enumerate() {
            // SAFETY: the row has a mark for each group, which is two words.
            let [scale, start] = unsafe { *tile.marks(term, int8, r, group).cast::<[u32; 2]>() };
            for (i, (sum, integer)) in sums.iter_mut().zip(integers).enumerate() {
                let number = integer.wrapping_add(start.cast_signed()) as f32;
                *sum += number * (f32::from_bits(scale) * columns[i]);
            }
        }
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
