//! Rows to words, words turned and paired: the operands of the products, and results back to rows.

use crate::aligned::Aligned;
use crate::gemm::{Lhs, Mode, PANEL, Words, panel_product, prefetch};
use crate::numbers::{Numbers, NumbersMut};
use crate::options::Isa;
use crate::simd::{per_isa, round_bf16, to_bf16};

/// Where rows of one head lie in `[.., heads * head_dim]`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// The whole buffer.
    pub x: Numbers<'a>,
    /// First number of the first row.
    pub at: usize,
    /// Numbers from row to row.
    pub step: usize,
    /// Rows.
    pub n: usize,
    /// Numbers of a row.
    pub width: usize,
}

impl<'a> Rows<'a> {
    /// `n` rows of `head` from `row`; rows hold `heads` heads, `width` wide.
    pub fn of(x: Numbers<'a>, row: usize, n: usize, head: usize, heads: usize, width: usize) -> Self {
        Self { x, at: (row * heads + head) * width, step: heads * width, n, width }
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> Numbers<'a> {
        let own = self.at + i * self.step..self.at + i * self.step + self.width;
        match self.x {
            Numbers::F32(x) => Numbers::F32(&x[own]),
            Numbers::Bf16(x) => Numbers::Bf16(&x[own]),
        }
    }

    /// The rows as words where they lie so already, and the words from row to row.
    fn as_words(&self, words: Words) -> Option<(&'a [u32], usize)> {
        let all = self.at..self.at + (self.n.max(1) - 1) * self.step + self.width;
        match (self.x, words) {
            (Numbers::F32(x), Words::F32) => Some((bytemuck::cast_slice(&x[all]), self.step)),
            (Numbers::Bf16(x), Words::Bf16Pairs)
                if self.width.is_multiple_of(2) && self.step.is_multiple_of(2) =>
            {
                Some((bytemuck::try_cast_slice(&x[all]).ok()?, self.step / 2))
            }
            _ => None,
        }
    }

    /// Asks for rows that will be read soon: they lie apart, which hardware does not foresee.
    pub fn fetch(&self) {
        for i in 0..self.n {
            match self.row(i) {
                Numbers::F32(x) => prefetch(bytemuck::cast_slice(x)),
                Numbers::Bf16(x) => prefetch(bytemuck::cast_slice(x)),
            }
        }
    }
}

/// `[rows][stride]` words from `rows`, and zeros in the rows from `rows.n` to `padded`.
pub fn to_words(mode: Mode, rows: Rows<'_>, padded: usize, out: &mut [u32]) {
    let stride = mode.words().count(rows.width);
    for (i, out) in out[..rows.n * stride].chunks_exact_mut(stride).enumerate() {
        row_words(mode.isa, mode.words(), rows.row(i), out);
    }
    out[rows.n * stride..padded * stride].fill(0);
}

/// `padded` rows as words, with the words from row to row: as they lie if there are so many, else a copy in
/// `scratch` with zeros behind.
pub fn as_words<'a>(
    mode: Mode,
    rows: Rows<'a>,
    padded: usize,
    scratch: &'a mut Aligned<u32>,
) -> (&'a [u32], usize) {
    if let (true, Some(own)) = (rows.n == padded, rows.as_words(mode.words())) {
        return own;
    }
    let stride = mode.words().count(rows.width);
    let out = scratch.take(padded * stride);
    to_words(mode, rows, padded, out);
    (out, stride)
}

per_isa! {
    fn row_words(words: Words, x: Numbers<'_>, out: &mut [u32]) = row_words_body;
}

#[inline(always)]
fn row_words_body(words: Words, x: Numbers<'_>, out: &mut [u32]) {
    match (x, words) {
        (Numbers::Bf16(x), Words::Bf16Pairs) => {
            let (pairs, rest) = x.as_chunks::<2>();
            for (o, &[a, b]) in out.iter_mut().zip(pairs) {
                *o = u32::from(a) | u32::from(b) << 16;
            }
            if let ([a], Some(o)) = (rest, out.last_mut()) {
                *o = u32::from(*a);
            }
        }
        (Numbers::F32(x), Words::Bf16Pairs) => {
            let (pairs, rest) = x.as_chunks::<2>();
            for (o, &[a, b]) in out.iter_mut().zip(pairs) {
                *o = u32::from(to_bf16(a)) | u32::from(to_bf16(b)) << 16;
            }
            if let ([a], Some(o)) = (rest, out.last_mut()) {
                *o = u32::from(to_bf16(*a));
            }
        }
        (Numbers::Bf16(x), Words::F32 | Words::RoundedF32) => {
            for (o, &x) in out.iter_mut().zip(x) {
                *o = u32::from(x) << 16;
            }
        }
        (Numbers::F32(x), Words::F32) => {
            for (o, &x) in out.iter_mut().zip(x) {
                *o = x.to_bits();
            }
        }
        (Numbers::F32(x), Words::RoundedF32) => {
            for (o, &x) in out.iter_mut().zip(x) {
                *o = round_bf16(x).to_bits();
            }
        }
    }
}

per_isa! {
    /// Words of two neighbouring rows to words that pair the rows: `out[2 * a.len()]`.
    fn pair_rows(a: &[u32], b: &[u32], out: &mut [u32]) = pair_rows_body;
}

#[inline(always)]
fn pair_rows_body(a: &[u32], b: &[u32], out: &mut [u32]) {
    for ((&a, &b), [low, high]) in a.iter().zip(b).zip(out.as_chunks_mut::<2>().0) {
        *low = (a & 0xffff) | b << 16;
        *high = a >> 16 | (b & 0xffff_0000);
    }
}

/// Turns `rows` rows of words (an even number) so that their numbers pair along the rows:
/// `[count][rows / per word]`, row `c` for number `c` of each row. `paired` is scratch.
pub fn turn_rows(
    mode: Mode,
    (words, step): (&[u32], usize),
    rows: usize,
    width: usize,
    paired: &mut [u32],
    out: &mut [u32],
) {
    if mode.words().per_word() == 1 {
        transpose(mode.isa, (words, step), (rows, width), (out, rows));
        return;
    }
    let stride = mode.words().count(width);
    for (i, paired) in paired.chunks_exact_mut(2 * stride).enumerate().take(rows / 2) {
        let (a, b) = (&words[2 * i * step..][..stride], &words[(2 * i + 1) * step..][..stride]);
        pair_rows(mode.isa, a, b, paired);
    }
    transpose(mode.isa, (paired, 2 * stride), (rows / 2, width), (out, rows / 2));
}

/// Pairs one panel's rows of words along the rows and lays them out as panels of columns:
/// `out[column panel][depth][PANEL]`, from word `at` of the depth on. Columns behind the width are unspecified.
pub fn column_panels(
    mode: Mode,
    (words, step): (&[u32], usize),
    width: usize,
    depth: usize,
    at: usize,
    out: &mut [u32],
) {
    let stride = mode.words().count(width);
    let per_word = mode.words().per_word();
    for k in 0..PANEL / per_word {
        for (p, first) in (0..stride).step_by(PANEL / per_word).enumerate() {
            let part = first..stride.min(first + PANEL / per_word);
            let out = &mut out[(p * depth + at + k) * PANEL..][..PANEL];
            let row = |i: usize| &words[(k * per_word + i) * step..][part.clone()];
            if per_word == 1 {
                out[..part.len()].copy_from_slice(row(0));
            } else {
                pair_rows(mode.isa, row(0), row(1), &mut out[..2 * part.len()]);
            }
        }
    }
}

/// A number of 4 bytes.
pub trait Word: Copy {}
impl Word for u32 {}
impl Word for f32 {}

/// `dst[c][r] = src[r][c]` for `rows x cols` numbers; each side is a slice with the distance of its rows.
pub fn transpose<T: Word>(
    isa: Isa,
    (src, src_stride): (&[T], usize),
    (rows, cols): (usize, usize),
    (dst, dst_stride): (&mut [T], usize),
) {
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(src.len() >= (rows - 1) * src_stride + cols, "transpose reads behind the end");
    assert!(dst.len() >= (cols - 1) * dst_stride + rows, "transpose writes behind the end");
    #[cfg(target_arch = "x86_64")]
    if matches!(isa, Isa::Avx512Bf16 | Isa::Avx512) {
        let (src, dst) = (src.as_ptr().cast(), dst.as_mut_ptr().cast());
        // SAFETY: the instruction set is available; both sides hold what is read and written, as asserted.
        return unsafe { super::avx512::transpose(src, src_stride, rows, cols, dst, dst_stride) };
    }
    let _ = isa;
    for c in 0..cols {
        for (r, d) in dst[c * dst_stride..][..rows].iter_mut().enumerate() {
            *d = src[r * src_stride + c];
        }
    }
}

/// `out = factor * x`, rounded to the form of `out`.
pub fn store_row(isa: Isa, x: &[f32], factor: f32, out: NumbersMut<'_>) {
    match out {
        NumbersMut::F32(out) => store_f32(isa, x, factor, out),
        NumbersMut::Bf16(out) => store_bf16(isa, x, factor, out),
    }
}

per_isa! {
    fn store_f32(x: &[f32], factor: f32, out: &mut [f32]) = store_f32_body;
}

#[inline(always)]
fn store_f32_body(x: &[f32], factor: f32, out: &mut [f32]) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = factor * x;
    }
}

per_isa! {
    fn store_bf16(x: &[f32], factor: f32, out: &mut [u16]) = store_bf16_body;
}

#[inline(always)]
fn store_bf16_body(x: &[f32], factor: f32, out: &mut [u16]) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = to_bf16(factor * x);
    }
}

/// Left rows of words, and how many words of each row count.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    /// From the first word on.
    pub words: &'a [u32],
    /// Words from row to row.
    pub stride: usize,
    /// Rows.
    pub rows: usize,
    /// Words of the reduction.
    pub depth: usize,
}

/// `out (+)= left x panels` with panels `[panel][depth][PANEL]` for `n` columns, rows of `out` `n` apart.
///
/// The one product of this module: a tile unit needs no other place.
pub fn product(mode: Mode, left: Left<'_>, panels: &[u32], n: usize, add: bool, out: &mut [f32], ldc: usize) {
    let lhs = Lhs { words: left.words, stride: left.stride, m: left.rows };
    panel_product(mode, lhs, (panels, left.depth), n, add, out, ldc);
}
