//! Conversion of both sides of a product to words, and expansion of stored forms into panels.

use std::ops::Range;

use super::kernel::PANEL;
use super::{Matrix, Mode, Side};
use crate::dequant;
use crate::options::Isa;
use crate::simd::{per_isa, round_bf16, to_bf16};

/// Columns of a stored row that are expanded at a time: the longest stored block, and 32 rows fill 32 KiB.
const STRIP: usize = 256;

/// How far ahead parts of stored rows are fetched: they lie a whole row apart, which hardware does not foresee.
const PREFETCH_ROWS: usize = 16;

/// What a 32-bit word of a packed operand holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// One f32.
    F32,
    /// One f32 that was rounded to bf16.
    RoundedF32,
    /// Two bf16 neighbours along the reduction, the first in the low half; a missing second one is 0.
    Bf16Pairs,
}

impl Words {
    /// Elements per word.
    #[inline(always)]
    pub fn per_word(self) -> usize {
        match self {
            Words::F32 | Words::RoundedF32 => 1,
            Words::Bf16Pairs => 2,
        }
    }

    /// Words that `len` elements take.
    #[inline(always)]
    pub fn count(self, len: usize) -> usize {
        len.div_ceil(self.per_word())
    }
}

/// Converts `scale * x` to words: the left side of a product, one row.
pub fn lhs_row(isa: Isa, words: Words, scale: f32, x: &[f32], out: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if words == Words::Bf16Pairs && isa == Isa::Avx512Bf16 {
        let out = &mut out[..words.count(x.len())];
        // SAFETY: the instruction set is available.
        return unsafe { super::avx512::pair_words(scale, x, out) };
    }
    plain_lhs_row(isa, words, scale, x, out);
}

per_isa! {
    fn plain_lhs_row(words: Words, scale: f32, x: &[f32], out: &mut [u32]) = lhs_row_body;
}

#[inline(always)]
fn lhs_row_body(words: Words, scale: f32, x: &[f32], out: &mut [u32]) {
    let out = &mut out[..words.count(x.len())];
    match words {
        Words::F32 => {
            for (o, &x) in out.iter_mut().zip(x) {
                *o = (scale * x).to_bits();
            }
        }
        Words::RoundedF32 => {
            for (o, &x) in out.iter_mut().zip(x) {
                *o = round_bf16(scale * x).to_bits();
            }
        }
        Words::Bf16Pairs => {
            let (pairs, rest) = x.as_chunks::<2>();
            for (o, &[a, b]) in out.iter_mut().zip(pairs) {
                *o = u32::from(to_bf16(scale * a)) | u32::from(to_bf16(scale * b)) << 16;
            }
            if let ([a], Some(o)) = (rest, out.last_mut()) {
                *o = u32::from(to_bf16(scale * a));
            }
        }
    }
}

per_isa! {
    /// Writes a strip `[rows][STRIP]`, of which `len` columns count, as words `[words][PANEL]`; the columns
    /// of the panel from `rows` on become 0. The strip's rows are outputs.
    fn strip_to_panel(words: Words, strip: &[f32], rows: usize, len: usize, out: &mut [u32]) = strip_to_panel_body;
}

#[inline(always)]
fn strip_to_panel_body(words: Words, strip: &[f32], rows: usize, len: usize, out: &mut [u32]) {
    let count = words.count(len);
    let mut row_words = [0u32; STRIP];
    if rows < PANEL {
        out[..count * PANEL].fill(0);
    }
    for row in 0..rows {
        lhs_row_body(words, 1.0, &strip[row * STRIP..][..len], &mut row_words);
        for (k, &word) in row_words[..count].iter().enumerate() {
            out[k * PANEL + row] = word;
        }
    }
}

per_isa! {
    /// Joins two neighbours along the reduction (`second` is empty at an odd end, or with one element per
    /// word) into one row of words per panel; panels lie `panel_stride` words apart, columns behind the end
    /// of `first` become 0.
    fn rows_to_panels(words: Words, first: &[f32], second: &[f32], panel_stride: usize, out: &mut [u32])
        = rows_to_panels_body;
}

#[inline(always)]
fn rows_to_panels_body(words: Words, first: &[f32], second: &[f32], panel_stride: usize, out: &mut [u32]) {
    for (p, first) in first.chunks(PANEL).enumerate() {
        let out = &mut out[p * panel_stride..][..PANEL];
        if first.len() < PANEL {
            out.fill(0);
        }
        let second = second.get(p * PANEL..).unwrap_or(&[]);
        match words {
            Words::F32 => {
                for (o, &x) in out.iter_mut().zip(first) {
                    *o = x.to_bits();
                }
            }
            Words::RoundedF32 => {
                for (o, &x) in out.iter_mut().zip(first) {
                    *o = round_bf16(x).to_bits();
                }
            }
            Words::Bf16Pairs if second.is_empty() => {
                for (o, &x) in out.iter_mut().zip(first) {
                    *o = u32::from(to_bf16(x));
                }
            }
            Words::Bf16Pairs => {
                for ((o, &x), &y) in out.iter_mut().zip(first).zip(second) {
                    *o = u32::from(to_bf16(x)) | u32::from(to_bf16(y)) << 16;
                }
            }
        }
    }
}

/// Numbers `cols` of `row`, expanded into `scratch` if they are stored in another form.
fn row_of<'a>(
    mode: Mode,
    matrix: &Matrix<'a>,
    row: usize,
    cols: Range<usize>,
    scratch: &'a mut [f32],
) -> &'a [f32] {
    match matrix {
        Matrix::Plain { data, stride, .. } => &data[row * stride..][cols],
        Matrix::Stored(w) => {
            let out = &mut scratch[..cols.len()];
            dequant::expand_row(mode.isa, w, row, cols, out);
            out
        }
    }
}

/// Packs `range` of the reduction for `outputs` into `panels` `[panel][words][PANEL]`, with
/// `words.count(range.len())` words; columns of the last panel behind the outputs become 0.
pub fn pack(
    mode: Mode,
    side: Side,
    matrix: &Matrix<'_>,
    outputs: Range<usize>,
    range: Range<usize>,
    panels: &mut [u32],
) {
    let kw = mode.words().count(range.len());
    assert!(panels.len() >= outputs.len().div_ceil(PANEL) * PANEL * kw, "panels are too short");
    match side {
        Side::Rows => pack_rows(mode, matrix, outputs, range, kw, panels),
        Side::Cols => pack_cols(mode, matrix, outputs, range, kw, panels),
    }
}

/// Rows of the matrix are outputs.
fn pack_rows(
    mode: Mode,
    matrix: &Matrix<'_>,
    outputs: Range<usize>,
    range: Range<usize>,
    kw: usize,
    panels: &mut [u32],
) {
    let words = mode.words();
    let mut strip = [0.0f32; PANEL * STRIP];
    for (p, first) in outputs.clone().step_by(PANEL).enumerate() {
        let rows = PANEL.min(outputs.end - first);
        for k in range.clone().step_by(STRIP) {
            let len = STRIP.min(range.end - k);
            for row in 0..rows {
                let own = &mut strip[row * STRIP..][..len];
                match matrix {
                    Matrix::Plain { data, stride, .. } => {
                        own.copy_from_slice(&data[(first + row) * stride + k..][..len]);
                    }
                    Matrix::Stored(w) => dequant::expand_row(mode.isa, w, first + row, k..k + len, own),
                }
            }
            let word = (k - range.start) / words.per_word();
            strip_to_panel(mode.isa, words, &strip, rows, len, &mut panels[(p * kw + word) * PANEL..]);
        }
    }
}

/// Columns of the matrix are outputs.
fn pack_cols(
    mode: Mode,
    matrix: &Matrix<'_>,
    outputs: Range<usize>,
    range: Range<usize>,
    kw: usize,
    panels: &mut [u32],
) {
    let words = mode.words();
    let (mut first, mut second) = ([0.0f32; STRIP], [0.0f32; STRIP]);
    for (word, row) in range.clone().step_by(words.per_word()).enumerate() {
        if let Matrix::Stored(w) = matrix {
            for ahead in (row + PREFETCH_ROWS..range.end).take(words.per_word()) {
                super::kernel::prefetch(dequant::row_bytes(w, ahead, outputs.clone()));
            }
        }
        let a = row_of(mode, matrix, row, outputs.clone(), &mut first);
        let b = if words == Words::Bf16Pairs && row + 1 < range.end {
            row_of(mode, matrix, row + 1, outputs.clone(), &mut second)
        } else {
            &[]
        };
        rows_to_panels(mode.isa, words, a, b, kw * PANEL, &mut panels[word * PANEL..]);
    }
}
