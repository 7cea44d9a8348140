//! The loop over tiles of one packed block, and the plain form of a tile.

use super::Mode;
use super::int8::{GROUP_WORDS, MARK_WORDS};
use super::pack::Words;
use crate::numbers::Form;
use crate::options::Isa;
use crate::simd::to_bf16;

/// Rows of a tile at most, in vector registers.
pub const VECTOR_ROWS: usize = 12;
/// Rows of a tile at most, in tile registers.
pub const TILE_ROWS: usize = 32;
/// Outputs of one packed panel.
pub const PANEL: usize = 32;

/// One part of the reduction of a product: left rows against packed panels.
#[derive(Clone, Copy)]
pub struct Term {
    /// Words of the first row of the left side.
    pub a: *const u32,
    /// Words from row to row.
    pub lda: usize,
    /// Packed panels `[panel][kw][PANEL]`.
    pub b: *const u32,
    /// Words of this part.
    pub kw: usize,
    /// Of a product of integers.
    pub int8: Option<Int8>,
}

impl Term {
    /// The rows from `count` on.
    pub fn skip_rows(&self, count: usize) -> Self {
        let skip = count * self.lda;
        let int8 = self.int8.map(|int8| Int8 { marks: int8.marks.wrapping_add(skip), ..int8 });
        Self { a: self.a.wrapping_add(skip), int8, ..*self }
    }
}

/// What a product of 8-bit integers needs besides its words.
#[derive(Clone, Copy)]
pub struct Int8 {
    /// Scale and start of each group of the first row; rows are as far apart as those of the left side.
    pub marks: *const u32,
    /// Scales of the outputs, or null where they are 1.
    pub scales: *const f32,
}

/// Where a product goes: rows of `n` numbers, `ldc` apart.
#[derive(Clone, Copy)]
pub struct Output {
    /// First number, f32 or bf16.
    pub c: *mut u8,
    /// How it stores its numbers.
    pub form: Form,
    /// Numbers from row to row.
    pub ldc: usize,
    /// Width.
    pub n: usize,
    /// Whether the product is added to what is there; only for f32.
    pub add: bool,
    /// `n` numbers to add to every row, or null.
    pub bias: *const f32,
}

/// One tile: `mr` rows from `row` times `nr` columns of one panel.
#[derive(Clone, Copy)]
pub struct Tile<'a> {
    pub terms: &'a [Term],
    pub row: usize,
    pub mr: usize,
    pub panel: usize,
    pub nr: usize,
    pub out: Output,
}

impl Tile<'_> {
    /// Left words of row `r` of the tile and panel words, for one term.
    ///
    /// # Safety
    /// `r` is below `mr`.
    #[inline(always)]
    pub unsafe fn operands(&self, term: &Term) -> (*const u32, *const u32) {
        // SAFETY: the tile lies inside what the term describes.
        unsafe { (term.a.add(self.row * term.lda), term.b.add(self.panel * PANEL * term.kw)) }
    }

    /// Mark of a group of row `r` of the tile, for one term of integers.
    ///
    /// # Safety
    /// `r` is below `mr`, and the term has this group.
    #[inline(always)]
    pub unsafe fn marks(&self, term: &Term, int8: &Int8, r: usize, group: usize) -> *const u32 {
        // SAFETY: the row has a mark for each group.
        unsafe { int8.marks.add((self.row + r) * term.lda + group * MARK_WORDS) }
    }

    /// Writes `values`, the first `count` columns from `column` of row `r`.
    ///
    /// # Safety
    /// The row and columns lie inside the tile.
    #[inline(always)]
    pub unsafe fn store(&self, r: usize, column: usize, values: &[f32]) {
        let at = self.panel * PANEL + column;
        let first = (self.row + r) * self.out.ldc + at;
        for (i, &value) in values.iter().enumerate() {
            // SAFETY: the caller vouches for the place; a bias has a number per column.
            unsafe {
                let value = if self.out.bias.is_null() { value } else { value + *self.out.bias.add(at + i) };
                match self.out.form {
                    Form::F32 => {
                        let c = &mut *self.out.c.cast::<f32>().add(first + i);
                        *c = if self.out.add { *c + value } else { value };
                    }
                    Form::Bf16 => *self.out.c.cast::<u16>().add(first + i) = to_bf16(value),
                }
            }
        }
    }
}

/// `out = sum of terms`, `m` rows, tile after tile.
///
/// # Safety
/// Each term must be valid for reads of `m` rows and of all panels that `out.n` columns take; `out` must be
/// valid for reads and writes of the described rows, and nobody else may use them.
pub unsafe fn tile_product(mode: Mode, terms: &[Term], m: usize, out: Output) {
    let integers = terms.iter().any(|term| term.int8.is_some());
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if mode.tiles {
        // SAFETY: the caller vouches for the operands; `tiles` says that the instructions are available.
        return unsafe {
            crate::amx::with(|tiles| {
                each_tile(TILE_ROWS, terms, m, out, |tile| match integers {
                    true => super::amx::tile_int8(tiles, tile),
                    false => super::amx::tile_bf16(tiles, tile),
                });
            })
        };
    }
    each_tile(mode.tile_height(m), terms, m, out, |tile| {
        // SAFETY: the caller vouches for the operands; an instruction set reaches this place only if it is
        // available.
        unsafe {
            match (mode.words(), mode.isa, integers) {
                #[cfg(target_arch = "x86_64")]
                (Words::Bf16Pairs, _, true) => super::avx512::tile_int8(tile),
                #[cfg(target_arch = "x86_64")]
                (Words::Bf16Pairs, _, false) => super::avx512::tile_bf16(tile),
                #[cfg(target_arch = "x86_64")]
                (_, Isa::Avx512 | Isa::Avx512Bf16, false) => super::avx512::tile_f32(tile),
                #[cfg(target_arch = "x86_64")]
                (_, Isa::Avx2, false) => super::avx2::tile_f32(tile),
                _ => tile_plain(tile),
            }
        }
    });
}

/// With few rows (LoRA factors) all fit one tile; else panels stay inside for reuse of the left rows.
fn each_tile(rows: usize, terms: &[Term], m: usize, out: Output, mut body: impl FnMut(Tile<'_>)) {
    for row in (0..m).step_by(rows) {
        for column in (0..out.n).step_by(PANEL) {
            let (mr, nr) = (rows.min(m - row), PANEL.min(out.n - column));
            body(Tile { terms, row, mr, panel: column / PANEL, nr, out });
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

/// Plain loops over words of f32 or of four integers.
///
/// # Safety
/// The operands of the tile must be valid for what it describes.
unsafe fn tile_plain(tile: Tile<'_>) {
    for row in 0..tile.mr {
        let mut sums = [0.0f32; PANEL];
        for term in tile.terms {
            if let Some(int8) = &term.int8 {
                // SAFETY: same contract; row < mr.
                unsafe { add_integers(&tile, term, int8, row, &mut sums) };
                continue;
            }
            for k in 0..term.kw {
                // SAFETY: row < mr and k < kw; a panel has kw * PANEL words.
                let (a, b) = unsafe {
                    let (a, b) = tile.operands(term);
                    let a = f32::from_bits(*a.add(row * term.lda + k));
                    (a, &*b.add(k * PANEL).cast::<[u32; PANEL]>())
                };
                for i in 0..PANEL {
                    sums[i] += a * f32::from_bits(b[i]);
                }
            }
        }
        // SAFETY: row < mr, and the tile has nr columns.
        unsafe { tile.store(row, 0, &sums[..tile.nr]) };
    }
}

/// Adds a term of integers for one row of a tile.
///
/// # Safety
/// The operands of the tile must be valid for what it describes, and `row` below its rows.
unsafe fn add_integers(tile: &Tile<'_>, term: &Term, int8: &Int8, row: usize, sums: &mut [f32; PANEL]) {
    for (group, first) in (0..term.kw).step_by(GROUP_WORDS).enumerate() {
        // SAFETY: the row has marks for each of its groups, and each column of the tile a scale.
        let (scale, start, a, b) = unsafe {
            let [scale, start] = *tile.marks(term, int8, row, group).cast::<[u32; MARK_WORDS]>();
            let (a, b) = tile.operands(term);
            (f32::from_bits(scale), start.cast_signed(), a.add(row * term.lda), b)
        };
        let mut integers = [start; PANEL];
        for k in first..term.kw.min(first + GROUP_WORDS) {
            // SAFETY: k < kw; a panel has kw * PANEL words.
            let (a, b) = unsafe { (*a.add(k), &*b.add(k * PANEL).cast::<[u32; PANEL]>()) };
            let a = a.to_le_bytes().map(|x| i32::from(x.cast_signed()));
            for i in 0..PANEL {
                let b = b[i].to_le_bytes().map(i32::from);
                integers[i] += a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
            }
        }
        for (i, sum) in sums[..tile.nr].iter_mut().enumerate() {
            let scales = int8.scales.wrapping_add(tile.panel * PANEL + i);
            // SAFETY: each column of the tile has a scale, if there are any.
            let column = if int8.scales.is_null() { 1.0 } else { unsafe { *scales } };
            *sum += integers[i] as f32 * (scale * column);
        }
    }
}
