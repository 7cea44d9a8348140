//! Conversion of both sides of a product to words, and expansion of stored forms into panels.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::kernel::{PANEL, prefetch};
use super::{Matrix, Mode, Side, int8};
use crate::dequant;
use crate::options::Isa;
use crate::simd::{per_isa, round_bf16, to_bf16};
use crate::weight::{StoredRows, WeightDtype};

/// Columns of a stored row that are expanded at a time: the longest stored block, and 32 rows fill 32 KiB.
const STRIP: usize = 256;

/// What runs along a row of a form with blocks begins and ends on multiples of this.
pub const STORED_STEP: usize = 32;
const _: () = assert!(PANEL.is_multiple_of(STORED_STEP), "whole panels are whole steps");

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

/// What a word of a panel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanelForm {
    /// Numbers in the form of the left side's words.
    Numbers(Words),
    /// Four 8-bit integers along the reduction, the first in the low byte ([`super::int8`]).
    Int8,
}

impl PanelForm {
    /// Elements per word.
    #[inline(always)]
    pub fn per_word(self) -> usize {
        match self {
            PanelForm::Numbers(words) => words.per_word(),
            PanelForm::Int8 => int8::PER_WORD,
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

/// A matrix as rows of stored elements.
pub fn stored_rows<'a>(matrix: &Matrix<'a>) -> StoredRows<'a> {
    match *matrix {
        Matrix::Stored(w) => w.into(),
        Matrix::Plain { data, rows, cols, stride } => {
            StoredRows::new(WeightDtype::F32, rows, cols, 4 * stride, bytemuck::cast_slice(data))
        }
    }
}

/// Pairs of bf16 in a word, and numbers in memory read as stored ones, need this byte order.
const _: () = assert!(cfg!(target_endian = "little"), "kernels are written for little-endian machines");

/// A part of a matrix to expand: `outputs` times `range`, which lies along the reduction. What runs along a row of a
/// form with blocks (`range` for [`Side::Rows`], `outputs` for [`Side::Cols`]) begins and ends on multiples of
/// [`STORED_STEP`], also inside of a longer block.
pub struct Part<'a> {
    pub mode: Mode,
    pub form: PanelForm,
    pub side: Side,
    pub rows: StoredRows<'a>,
    /// Of integers: scales of all rows of the matrix.
    pub scales: &'a [f32],
    pub outputs: Range<usize>,
    pub range: Range<usize>,
}

impl Part<'_> {
    /// Words from panel to panel.
    fn panel_stride(&self) -> usize {
        self.form.count(self.range.len()) * PANEL
    }

    /// Factor of a row's elements.
    fn factor(&self, row: usize) -> f32 {
        if self.form == PanelForm::Int8 { int8::inverse(self.scales[row]) } else { 1.0 }
    }

    /// Expands into `panels` `[panel][words][PANEL]`, outputs rounded up to whole panels. Columns behind the last
    /// output are not to be used. Panics if `panels` is too short.
    ///
    /// Elements are expanded as [`dequant`] defines it and rounded to bf16 (nearest even) or integers if the words
    /// are. With [`Words::Bf16Pairs`] subnormal numbers may become 0, as they would in the product.
    pub fn pack(&self, panels: &mut [u32]) {
        if self.outputs.is_empty() || self.range.is_empty() {
            return;
        }
        let (of_rows, of_cols) = match self.side {
            Side::Rows => (&self.outputs, &self.range),
            Side::Cols => (&self.range, &self.outputs),
        };
        let step = self.rows.dtype().block_len().min(STORED_STEP);
        let integers = self.form == PanelForm::Int8;
        assert!(!integers || self.scales.len() == self.rows.rows(), "one scale per row");
        assert!(of_rows.end <= self.rows.rows() && of_cols.end <= self.rows.cols(), "outside of the matrix");
        assert!(of_cols.start.is_multiple_of(step) && of_cols.end.is_multiple_of(step), "inside of a step");
        assert!(
            panels.len() >= self.outputs.len().div_ceil(PANEL) * self.panel_stride(),
            "panels are too short"
        );
        #[cfg(target_arch = "x86_64")]
        if self.mode.isa <= Isa::Avx512 {
            // SAFETY: the instruction set is available; the asserts above are the contract.
            return unsafe { avx512::pack(self, panels) };
        }
        match self.side {
            Side::Rows => self.pack_rows(panels),
            Side::Cols => self.pack_cols(panels),
        }
    }

    /// The parts of `cols` that are expanded at a time: no longer than [`STRIP`], within one stored block.
    fn strips(&self, cols: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let end = cols.end;
        let len = self.rows.dtype().block_len();
        // Plain rows are cut from their start on, so that pairs stay together.
        let offset = if len == 1 { cols.start % STRIP } else { 0 };
        let next = move |strip: &Range<usize>| {
            let start = strip.end;
            (start < end).then(|| start..end.min((start - offset) / STRIP * STRIP + STRIP + offset))
        };
        std::iter::successors(next(&(cols.start..cols.start)), next)
    }

    /// The whole blocks that hold `cols`.
    fn blocks(&self, cols: &Range<usize>) -> Range<usize> {
        let len = self.rows.dtype().block_len();
        cols.start / len * len..cols.end.next_multiple_of(len)
    }

    /// Expands `cols` of a row, a part of a strip.
    fn expand<'a>(&self, row: usize, cols: &Range<usize>, strip: &'a mut [f32; STRIP]) -> &'a [f32] {
        let blocks = self.blocks(cols);
        let bytes = self.rows.row(row, blocks.clone());
        dequant::expand(self.mode.isa, self.rows.dtype(), bytes, &mut strip[..blocks.len()]);
        &strip[cols.start - blocks.start..][..cols.len()]
    }

    /// Rows of the matrix are outputs.
    fn pack_rows(&self, panels: &mut [u32]) {
        let form = self.form;
        let mut strip = [0.0; STRIP];
        for (p, first) in self.outputs.clone().step_by(PANEL).enumerate() {
            for cols in self.strips(&self.range) {
                let word = (cols.start - self.range.start) / form.per_word();
                let out = &mut panels[p * self.panel_stride() + word * PANEL..];
                let rows = first..self.outputs.end.min(first + PANEL);
                if rows.len() < PANEL {
                    out[..form.count(cols.len()) * PANEL].fill(0);
                }
                for (column, row) in rows.enumerate() {
                    let numbers = self.expand(row, &cols, &mut strip);
                    let factor = self.factor(row);
                    row_to_column(self.mode.isa, form, factor, numbers, &mut out[column..]);
                }
            }
        }
    }

    /// Columns of the matrix are outputs.
    fn pack_cols(&self, panels: &mut [u32]) {
        let form = self.form;
        let mut strips = [[0.0; STRIP]; int8::PER_WORD];
        for (word, row) in self.range.clone().step_by(form.per_word()).enumerate() {
            for ahead in (row + PREFETCH_ROWS..self.range.end).take(form.per_word()) {
                prefetch(self.rows.row(ahead, self.blocks(&self.outputs)));
            }
            for cols in self.strips(&self.outputs) {
                let mut numbers = [&[][..]; int8::PER_WORD];
                let mut factors = [0.0; int8::PER_WORD];
                let rows = row..self.range.end.min(row + form.per_word());
                for (i, (row, strip)) in rows.zip(&mut strips).enumerate() {
                    numbers[i] = self.expand(row, &cols, strip);
                    factors[i] = self.factor(row);
                }
                let panel = (cols.start - self.outputs.start) / PANEL;
                let out = &mut panels[panel * self.panel_stride() + word * PANEL..];
                rows_to_panels(self.mode.isa, form, numbers, factors, self.panel_stride(), out);
            }
        }
    }
}

per_isa! {
    /// Writes a row of at most [`STRIP`] numbers, times `factor`, as the first column of `out` `[words][PANEL]`.
    fn row_to_column(form: PanelForm, factor: f32, row: &[f32], out: &mut [u32]) = row_to_column_body;
}

#[inline(always)]
fn row_to_column_body(form: PanelForm, factor: f32, row: &[f32], out: &mut [u32]) {
    let mut row_words = [0u32; STRIP];
    match form {
        PanelForm::Numbers(words) => lhs_row_body(words, factor, row, &mut row_words),
        PanelForm::Int8 => {
            for (o, quad) in row_words.iter_mut().zip(row.chunks(int8::PER_WORD)) {
                *o = int8::panel_word(|i| quad.get(i).map_or(0.0, |x| factor * x));
            }
        }
    }
    for (k, &word) in row_words[..form.count(row.len())].iter().enumerate() {
        out[k * PANEL] = word;
    }
}

per_isa! {
    /// Joins neighbours along the reduction (the last are empty at the end, or with fewer elements per word) into one
    /// row of words per panel; panels lie `panel_stride` words apart, columns behind the end of the first become 0.
    /// Integers are those of numbers times their row's factor.
    fn rows_to_panels(
        form: PanelForm, rows: [&[f32]; int8::PER_WORD], factors: [f32; int8::PER_WORD], panel_stride: usize,
        out: &mut [u32],
    ) = rows_to_panels_body;
}

#[inline(always)]
fn rows_to_panels_body(
    form: PanelForm,
    rows: [&[f32]; int8::PER_WORD],
    factors: [f32; int8::PER_WORD],
    panel_stride: usize,
    out: &mut [u32],
) {
    let [first, second, ..] = rows;
    for (p, first) in first.chunks(PANEL).enumerate() {
        let out = &mut out[p * panel_stride..][..PANEL];
        if first.len() < PANEL {
            out.fill(0);
        }
        let second = second.get(p * PANEL..).unwrap_or(&[]);
        match form {
            PanelForm::Numbers(Words::F32) => {
                for (o, &x) in out.iter_mut().zip(first) {
                    *o = x.to_bits();
                }
            }
            PanelForm::Numbers(Words::RoundedF32) => {
                for (o, &x) in out.iter_mut().zip(first) {
                    *o = round_bf16(x).to_bits();
                }
            }
            PanelForm::Numbers(Words::Bf16Pairs) if second.is_empty() => {
                for (o, &x) in out.iter_mut().zip(first) {
                    *o = u32::from(to_bf16(x));
                }
            }
            PanelForm::Numbers(Words::Bf16Pairs) => {
                for ((o, &x), &y) in out.iter_mut().zip(first).zip(second) {
                    *o = u32::from(to_bf16(x)) | u32::from(to_bf16(y)) << 16;
                }
            }
            PanelForm::Int8 => {
                for (i, o) in out.iter_mut().enumerate().take(first.len()) {
                    let at = |r: usize| rows[r].get(p * PANEL + i).map_or(0.0, |x| x * factors[r]);
                    *o = int8::panel_word(at);
                }
            }
        }
    }
}
