//! The loop over tiles of one packed block, and the plain form of a tile.

use super::Mode;
use super::pack::Words;
use crate::options::Isa;

/// Rows of a tile at most.
pub const MAX_ROWS: usize = 12;
/// Outputs of one packed panel.
pub const PANEL: usize = 32;

/// Inputs of [`tile_product`].
pub struct Operands<'a> {
    /// Left words: `m` rows, `lda` apart, `kw` words used.
    pub a: &'a [u32],
    /// Words from row to row.
    pub lda: usize,
    /// Rows.
    pub m: usize,
    /// Packed panels `[panel][kw][PANEL]`.
    pub b: &'a [u32],
    /// Words of the reduction.
    pub kw: usize,
}

/// Output of [`tile_product`]: `m` rows of `n` numbers, `ldc` apart.
#[derive(Clone, Copy)]
pub struct Output {
    /// First number.
    pub c: *mut f32,
    /// Numbers from row to row.
    pub ldc: usize,
    /// Width.
    pub n: usize,
    /// Whether the product is added to what is there.
    pub accumulate: bool,
}

/// One tile: `mr` rows times `nr` columns of one panel.
#[derive(Clone, Copy)]
pub struct Tile {
    pub a: *const u32,
    pub lda: usize,
    pub mr: usize,
    pub b: *const u32,
    pub kw: usize,
    pub c: *mut f32,
    pub ldc: usize,
    pub nr: usize,
    pub accumulate: bool,
}

/// `c (+)= a x b` for one packed block, tile after tile.
///
/// # Safety
/// `out.c` must be valid for reads and writes of the described rows, and nobody else may use them.
pub unsafe fn tile_product(mode: Mode, ab: Operands<'_>, out: Output) {
    let Operands { a, lda, m, b, kw } = ab;
    assert!(m == 0 || a.len() >= (m - 1) * lda + kw, "left side is too short");
    assert!(b.len() >= out.n.div_ceil(PANEL) * PANEL * kw, "packed panels are too short");
    // With few rows (LoRA factors) all fit one tile; else panels stay inside for reuse of the left rows.
    for row in (0..m).step_by(MAX_ROWS) {
        for column in (0..out.n).step_by(PANEL) {
            let tile = Tile {
                a: a[row * lda..].as_ptr(),
                lda,
                mr: MAX_ROWS.min(m - row),
                b: b[column * kw..].as_ptr(),
                kw,
                c: out.c.wrapping_add(row * out.ldc + column),
                ldc: out.ldc,
                nr: PANEL.min(out.n - column),
                accumulate: out.accumulate,
            };
            // SAFETY: the asserts above bound the reads from `a` and `b`; the caller vouches for `c`; an
            // instruction set reaches this place only if it is available.
            unsafe {
                match (mode.words(), mode.isa) {
                    #[cfg(target_arch = "x86_64")]
                    (Words::Bf16Pairs, _) => super::avx512::tile_bf16(tile),
                    #[cfg(target_arch = "x86_64")]
                    (_, Isa::Avx512 | Isa::Avx512Bf16) => super::avx512::tile_f32(tile),
                    #[cfg(target_arch = "x86_64")]
                    (_, Isa::Avx2) => super::avx2::tile_f32(tile),
                    _ => tile_plain(tile),
                }
            }
        }
    }
}

/// Asks for bytes that will be read soon.
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        // SAFETY: a prefetch reads nothing and is in the baseline instructions.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// Plain loops over f32 words.
///
/// # Safety
/// The pointers of the tile must be valid for what it describes.
unsafe fn tile_plain(tile: Tile) {
    for row in 0..tile.mr {
        let mut sums = [0.0f32; PANEL];
        for k in 0..tile.kw {
            // SAFETY: row < mr and k < kw; a panel has kw * PANEL words.
            let (a, b) = unsafe {
                let a = f32::from_bits(*tile.a.add(row * tile.lda + k));
                (a, &*tile.b.add(k * PANEL).cast::<[u32; PANEL]>())
            };
            for i in 0..PANEL {
                sums[i] += a * f32::from_bits(b[i]);
            }
        }
        for (i, sum) in sums.iter().enumerate().take(tile.nr) {
            // SAFETY: i < nr, row < mr.
            let c = unsafe { &mut *tile.c.add(row * tile.ldc + i) };
            *c = if tile.accumulate { *c + sum } else { *sum };
        }
    }
}
