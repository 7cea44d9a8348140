//! Matrix products with one stored form of the right-hand matrix for both directions.
//!
//! `out[M, N'] (+)= left[M, R] x right`, row-major, R the reduction. The reduction may have several [`Term`]s that
//! follow one another, each with its own left side and right-hand matrix (a frozen weight and its LoRA factor, or
//! the weights of linears whose input gradients add up), which this way cost no extra pass over the output:
//! - [`Side::Rows`]: rows of the matrix `[N', R]` are outputs: `x Wᵀ`;
//! - [`Side::Cols`]: columns of the matrix `[R, N']` are outputs: `g W`.
//!
//! A left side is rows of 32-bit *words*: an f32, or a pair of bf16 neighbours along R. Operands are stored so
//! already; other numbers are converted once ([`crate::context::Context::left`]). The right side is expanded from
//! its stored form tile by tile into panels of [`PANEL`] outputs, `[words][PANEL]`, which together take at most
//! 400 KiB and stay in L2. The whole matrix never exists expanded.
//!
//! Order of every sum: along R, term after term, one f32 accumulator per output element (with bf16 words the
//! instruction adds pairs), except that reductions of more than [`plan::WHOLE_WORDS`] words add up blocks. It
//! depends on the shapes alone. With [`Precision::Bf16`] all inputs are rounded to bf16 (nearest even);
//! `vdpbf16ps` also flushes subnormal inputs and results to zero and rounds the pair's sum its own way, so the
//! error bound against exact sums of the rounded inputs is taken as `R * 2^-23 * sum |a b|` in all forms.
//!
//! A term may also multiply integers of 8 bits ([`int8`]); its sums join those of the other terms in f32.

pub mod int8;
mod kernel;
mod pack;
mod plan;
pub mod small;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::numbers::{Form, NumbersMut};
use crate::options::{Isa, Precision};
use crate::pool::Pool;
use crate::weight::WeightBytes;

use kernel::{Output, TILE_ROWS, VECTOR_ROWS, tile_product};
use plan::Plan;

pub use kernel::{PANEL, prefetch};
pub use pack::{Words, lhs_row};

use pack::PanelForm;

/// Rows are split as well until there are this many tasks per thread, so that threads end at about the same time.
const TASKS_PER_THREAD: usize = 4;

/// A right-hand matrix.
#[derive(Clone, Copy)]
pub enum Matrix<'a> {
    /// A frozen matrix in its stored form.
    Stored(&'a WeightBytes),
    /// f32 numbers in memory, `[rows, cols]`, rows `stride` apart.
    Plain {
        /// From the first number on.
        data: &'a [f32],
        /// Number of rows.
        rows: usize,
        /// Width of a row.
        cols: usize,
        /// Numbers from row to row.
        stride: usize,
    },
}

impl<'a> Matrix<'a> {
    /// A matrix without gaps between its rows.
    pub fn plain(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert!(data.len() >= rows * cols, "a matrix of {rows} x {cols} in {} numbers", data.len());
        Matrix::Plain { data, rows, cols, stride: cols }
    }
}

impl Matrix<'_> {
    fn rows(&self) -> usize {
        match self {
            Matrix::Stored(w) => w.rows,
            Matrix::Plain { rows, .. } => *rows,
        }
    }

    fn cols(&self) -> usize {
        match self {
            Matrix::Stored(w) => w.cols,
            Matrix::Plain { cols, .. } => *cols,
        }
    }
}

/// Which side of the right-hand matrices is the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Rows are outputs, columns the reduction.
    Rows,
    /// Columns are outputs, rows the reduction.
    Cols,
}

/// How products are computed: instruction set and rounding.
#[derive(Clone, Copy)]
pub struct Mode {
    /// Instruction set of everything but products in tile registers, known to be available; never
    /// [`Isa::Amx`].
    pub isa: Isa,
    /// Whether products of bf16 pairs run in tile registers.
    pub tiles: bool,
    /// Rounding of inputs.
    pub precision: Precision,
}

impl Mode {
    /// `isa` must be available.
    pub fn new(isa: Isa, precision: Precision) -> Self {
        let tiles = isa == Isa::Amx && precision != Precision::F32;
        Self { isa: isa.vectors(), tiles, precision }
    }

    /// Rows of a tile at most.
    pub fn tile_rows(self) -> usize {
        if self.tiles { TILE_ROWS } else { VECTOR_ROWS }
    }

    /// Rows of the tiles of `m` rows. In vector registers all are of about one height: one of few rows has too few sums
    /// to hide their latency.
    fn tile_height(self, m: usize) -> usize {
        if self.tiles { TILE_ROWS } else { m.div_ceil(m.div_ceil(VECTOR_ROWS).max(1)).max(1) }
    }

    /// How inputs of products are kept.
    pub fn operand_form(self) -> Form {
        match self.precision {
            Precision::F32 => Form::F32,
            Precision::Bf16 | Precision::Int8 => Form::Bf16,
        }
    }

    /// The form of packed words, but for terms of integers.
    pub fn words(self) -> Words {
        match (self.precision, self.isa) {
            (Precision::F32, _) => Words::F32,
            (Precision::Bf16 | Precision::Int8, Isa::Avx512Bf16) => Words::Bf16Pairs,
            (Precision::Bf16 | Precision::Int8, _) => Words::RoundedF32,
        }
    }
}

/// A left side: `m` rows of words, `stride` apart.
#[derive(Clone, Copy)]
pub struct Lhs<'a> {
    /// Words, row-major.
    pub words: &'a [u32],
    /// Words from row to row.
    pub stride: usize,
    /// Rows.
    pub m: usize,
}

impl<'a> Lhs<'a> {
    /// The part of each row from word `at`.
    pub fn skip_words(self, at: usize) -> Lhs<'a> {
        let at = if self.m == 0 { 0 } else { at };
        Lhs { words: &self.words[at..], ..self }
    }
}

/// Words per row of a converted left side whose parts have these lengths, with padding against cache conflicts of
/// rows that lie a power of two apart.
pub fn lhs_stride(words: Words, parts: &[usize]) -> usize {
    let used: usize = parts.iter().map(|&len| words.count(len)).sum();
    let lines = used.div_ceil(16);
    16 * (lines + 1 - lines % 2)
}

/// One part of the reduction: the left side's first words against all of the matrix.
#[derive(Clone, Copy)]
pub struct Term<'a> {
    /// Rows, as many in every term of a product.
    pub left: Lhs<'a>,
    /// Right-hand matrix.
    pub right: Matrix<'a>,
    /// Of a product of integers: scales of the rows of the matrix. The left side is rows of [`int8::left_row`].
    pub int8: Option<&'a [f32]>,
}

impl<'a> Term<'a> {
    /// A term whose words are the mode's.
    pub fn new(left: Lhs<'a>, right: Matrix<'a>) -> Self {
        Self { left, right, int8: None }
    }

    fn form(&self, mode: Mode) -> PanelForm {
        if self.int8.is_some() { PanelForm::Int8 } else { PanelForm::Numbers(mode.words()) }
    }
}

/// What the output starts from.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Zero: the product overwrites.
    Zero,
    /// What is there, plus a bias `[N']` in every row: the product is added. Only for f32 outputs.
    Out(Option<&'a [f32]>),
    /// A bias `[N']` in every row: overwrites.
    Bias(&'a [f32]),
}

impl<'a> Start<'a> {
    fn bias(self) -> Option<&'a [f32]> {
        match self {
            Start::Zero => None,
            Start::Out(bias) => bias,
            Start::Bias(bias) => Some(bias),
        }
    }
}

/// One product of a call: `out[M, N'] (+)= sum of terms`. An empty reduction gives the start value.
pub struct Product<'a> {
    /// Which side of the right-hand matrices is the output.
    pub side: Side,
    /// Terms; they agree on rows and outputs.
    pub terms: &'a [Term<'a>],
    /// What the output starts from.
    pub start: Start<'a>,
    /// `[M, N']`, or its last row shorter; rows `stride` apart.
    pub out: NumbersMut<'a>,
    /// Numbers from row to row of `out`.
    pub stride: usize,
}

/// A part of a product's output on its way to memory, which [`mapped_product`] shows.
pub struct Piece<'a> {
    /// Rows of the left side.
    pub rows: Range<usize>,
    /// Rows of the right-hand matrix.
    pub outputs: Range<usize>,
    /// `[rows, outputs]`.
    pub values: &'a mut [f32],
}

/// What sees, and may change, all pieces of an output.
pub type Map<'a> = dyn FnMut(Piece<'_>) + 'a;

/// Computes several products, which do not depend on one another, in one go.
pub fn products(pool: &Pool, mode: Mode, products: &mut [Product<'_>]) {
    let mut plans: Vec<Plan<'_>> = products.iter_mut().map(|product| Plan::new(mode, product)).collect();
    plans.iter().for_each(Plan::check_output);
    plans.retain(|plan| !plan.is_empty());
    let columns: usize = plans.iter().map(Plan::tasks).sum();
    // How rows and columns are split changes no sum, so it may depend on the number of threads.
    let wanted = if pool.threads() == 1 { 1 } else { TASKS_PER_THREAD * pool.threads() };
    for plan in &mut plans {
        plan.split_rows(mode, wanted.div_ceil(columns.max(1)));
    }
    let tasks = plans.iter().map(Plan::tasks).sum();
    pool.run(tasks, |mut task| {
        for plan in &plans {
            if task < plan.tasks() {
                return plan.run(mode, task);
            }
            task -= plan.tasks();
        }
    });
}

/// `left x rightᵀ` on the calling thread. Every piece goes through `map` before it is stored in `out` (whose rows are
/// so many numbers apart), or nowhere.
pub fn mapped_product(
    mode: Mode,
    left: Lhs<'_>,
    right: Matrix<'_>,
    out: Option<(NumbersMut<'_>, usize)>,
    map: &mut Map<'_>,
) {
    let terms = [Term::new(left, right)];
    let keep = out.is_some();
    let (out, stride) = out.unwrap_or((NumbersMut::F32(&mut []), 0));
    let mut product = Product { side: Side::Rows, terms: &terms, start: Start::Zero, out, stride };
    let plan = Plan::new(mode, &mut product);
    if keep {
        plan.check_output();
    }
    for task in 0..plan.tasks() {
        plan.run_mapped(mode, task, map, keep);
    }
}

/// One product on the calling thread.
pub fn product_here(mode: Mode, product: &mut Product<'_>) {
    let plan = Plan::new(mode, product);
    plan.check_output();
    for task in 0..plan.tasks() {
        plan.run(mode, task);
    }
}

/// One product with one term and no gaps between rows of its output.
pub fn product(
    pool: &Pool,
    mode: Mode,
    left: Lhs<'_>,
    side: Side,
    right: Matrix<'_>,
    start: Start<'_>,
    out: NumbersMut<'_>,
) {
    let stride = if side == Side::Rows { right.rows() } else { right.cols() };
    let terms = [Term::new(left, right)];
    products(pool, mode, &mut [Product { side, terms: &terms, start, out, stride }]);
}

/// `out (+)= lhs x panels` on the calling thread for `n` outputs: panels `[panel][kw][PANEL]` with `kw` words; rows
/// of `out` are `ldc` apart.
pub fn panel_product(
    mode: Mode,
    lhs: Lhs<'_>,
    (panels, kw): (&[u32], usize),
    n: usize,
    add: bool,
    out: &mut [f32],
    ldc: usize,
) {
    let m = lhs.m;
    if m == 0 {
        return;
    }
    assert!(ldc >= n && out.len() >= (m - 1) * ldc + n, "output is too short");
    assert!(lhs.words.len() >= (m - 1) * lhs.stride + kw, "left side is too short");
    assert!(panels.len() >= n.div_ceil(PANEL) * PANEL * kw, "packed panels are too short");
    let term = kernel::Term { a: lhs.words.as_ptr(), lda: lhs.stride, b: panels.as_ptr(), kw, int8: None };
    let c = out.as_mut_ptr().cast();
    let out = Output { c, form: Form::F32, ldc, n, add, bias: std::ptr::null() };
    // SAFETY: `out` is borrowed mutably and, by the assertions, both sides and the output hold all rows.
    unsafe { tile_product(mode, &[term], m, out) }
}
