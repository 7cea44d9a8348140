//! Matrix products with one stored form of the right-hand matrix for both directions.
//!
//! `out[M, N'] (+)= lhs[M, R] x rhs`, row-major f32, R the reduction. The right-hand side is one matrix or two
//! that follow one another along R (a frozen weight and its LoRA factor, which this way costs no extra pass
//! over the output):
//! - [`Side::Rows`]: rows of the matrix `[N', R]` are outputs: `x Wᵀ`;
//! - [`Side::Cols`]: columns of the matrix `[R, N']` are outputs: `g W`.
//!
//! The left side is converted once, row-major, to 32-bit *words* ([`Lhs`]): an f32, or a pair of bf16
//! neighbours along R. The right side is expanded from its stored form tile by tile into panels of
//! [`PANEL`] outputs, `[words][PANEL]`, at most [`BLOCK_WORDS`] words deep: 288 KiB for 96 outputs, which
//! stays in L2. The whole matrix never exists expanded.
//!
//! Order of every sum: along R, block after block, one f32 accumulator per output element (with bf16 words
//! the instruction adds pairs). It depends on the shapes alone. With [`Precision::Bf16`] all inputs are
//! rounded to bf16 (nearest even); `vdpbf16ps` also flushes subnormal inputs and results to zero and rounds
//! the pair's sum its own way, so the error bound against exact sums of the rounded inputs is taken as
//! `R * 2^-23 * sum |a b|` in all forms.

mod kernel;
mod pack;
pub mod small;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ops::Range;

use crate::options::{Isa, Precision};
use crate::pool::Pool;
use crate::weight::WeightBytes;

use kernel::{MAX_ROWS, Operands, Output, tile_product};

pub use pack::{Words, lhs_row};

/// Depth of one packed block, in words: [`MAX_ROWS`] rows of the left side take 36 KiB of L1.
const BLOCK_WORDS: usize = 768;
/// A last part of at most this many words is packed together with the block before it.
const TAIL_WORDS: usize = 128;
/// Outputs per task, before rounding up to whole stored blocks.
const TASK_OUTPUTS: usize = 96;
/// Rows are split as well until there are this many tasks, so that threads end at about the same time.
const WANTED_TASKS: usize = 16;
/// But never into chunks of fewer rows than this, since each chunk expands the matrix again.
const MIN_TASK_ROWS: usize = 40 * MAX_ROWS;

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

    fn block_len(&self) -> usize {
        match self {
            Matrix::Stored(w) => w.dtype.block_len(),
            Matrix::Plain { .. } => 1,
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
    /// Instruction set, known to be available.
    pub isa: Isa,
    /// Rounding of inputs.
    pub precision: Precision,
}

impl Mode {
    /// The form of packed words.
    pub fn words(self) -> Words {
        match (self.precision, self.isa) {
            (Precision::F32, _) => Words::F32,
            (Precision::Bf16, Isa::Avx512Bf16) => Words::Bf16Pairs,
            (Precision::Bf16, _) => Words::RoundedF32,
        }
    }
}

/// The converted left side: `[M, stride]` words, of which a product uses the first ones of each row.
#[derive(Clone, Copy)]
pub struct Lhs<'a> {
    /// Words, row-major.
    pub words: &'a [u32],
    /// Words from row to row.
    pub stride: usize,
    /// Rows.
    pub m: usize,
}

/// Words per row of a left side whose parts have these lengths, with padding against cache conflicts of
/// rows that lie a power of two apart.
pub fn lhs_stride(words: Words, parts: &[usize]) -> usize {
    let used: usize = parts.iter().map(|&len| words.count(len)).sum();
    let lines = used.div_ceil(16);
    16 * (lines + 1 - lines % 2)
}

/// One block of the reduction: ranges of parts that are packed together.
pub type Block = [(usize, Range<usize>)];

fn blocks(words: Words, lengths: &[usize], depth: usize) -> Vec<Vec<(usize, Range<usize>)>> {
    let mut blocks: Vec<Vec<(usize, Range<usize>)>> = Vec::new();
    for (part, &len) in lengths.iter().enumerate() {
        if let (true, Some(last)) = (words.count(len) <= TAIL_WORDS, blocks.last_mut()) {
            last.push((part, 0..len));
            continue;
        }
        let step = depth * words.per_word();
        blocks.extend((0..len).step_by(step).map(|k| vec![(part, k..len.min(k + step))]));
    }
    blocks
}

thread_local! {
    /// Packed panels of the task that this thread runs.
    static PANELS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Address of the output for tasks that write disjoint tiles of it.
#[derive(Clone, Copy)]
struct OutPtr(*mut f32);
// SAFETY: tasks write disjoint elements (each owns a range of rows and columns) and read no others.
unsafe impl Send for OutPtr {}
// SAFETY: as above.
unsafe impl Sync for OutPtr {}

impl OutPtr {
    fn get(self) -> *mut f32 {
        self.0
    }
}

/// What the output starts from.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Zero: the product overwrites.
    Zero,
    /// What is there: the product is added.
    Out,
    /// A bias `[N']` in every row: overwrites.
    Bias(&'a [f32]),
}

/// `out[M, N'] (+)= lhs x parts`. `parts` agree on the outputs; their reductions follow one another.
/// `out` holds at least `M * N'` numbers; an empty reduction gives the start value.
pub fn product(
    pool: &Pool,
    mode: Mode,
    lhs: Lhs<'_>,
    side: Side,
    parts: &[Matrix<'_>],
    start: Start<'_>,
    out: &mut [f32],
) {
    let words = mode.words();
    let (n, lengths): (usize, Vec<usize>) = match side {
        Side::Rows => (parts[0].rows(), parts.iter().map(Matrix::cols).collect()),
        Side::Cols => (parts[0].cols(), parts.iter().map(Matrix::rows).collect()),
    };
    let m = lhs.m;
    let out = &mut out[..m * n];
    if m == 0 || n == 0 {
        return;
    }
    let used: usize = lengths.iter().map(|&len| words.count(len)).sum();
    assert!(lhs.words.len() >= (m - 1) * lhs.stride + used, "left side is too short");
    for part in parts {
        let outputs = if side == Side::Rows { part.rows() } else { part.cols() };
        assert_eq!(outputs, n, "parts of a product disagree on its outputs");
    }
    match start {
        Start::Bias(bias) => out.chunks_exact_mut(n).for_each(|row| row.copy_from_slice(&bias[..n])),
        Start::Zero if used == 0 => out.fill(0.0),
        _ => {}
    }

    let align = match side {
        Side::Rows => 1,
        Side::Cols => parts.iter().map(Matrix::block_len).max().unwrap_or(1),
    };
    let task_outputs = TASK_OUTPUTS.next_multiple_of(align);
    let depth = if task_outputs > 2 * TASK_OUTPUTS { BLOCK_WORDS / 2 } else { BLOCK_WORDS };
    let blocks = blocks(words, &lengths, depth);
    let columns = n.div_ceil(task_outputs);
    let row_chunks = WANTED_TASKS.div_ceil(columns).min(m.div_ceil(MIN_TASK_ROWS));
    let chunk_rows = m.div_ceil(row_chunks).next_multiple_of(MAX_ROWS);
    let row_chunks = m.div_ceil(chunk_rows);

    let out_ptr = OutPtr(out.as_mut_ptr());
    pool.run(columns * row_chunks, |task| {
        let (column, chunk) = (task / row_chunks, task % row_chunks);
        let outputs = column * task_outputs..n.min((column + 1) * task_outputs);
        let rows = chunk * chunk_rows..m.min((chunk + 1) * chunk_rows);
        let mut accumulate = !matches!(start, Start::Zero);
        let mut offset = 0;
        PANELS.with_borrow_mut(|panels| {
            for block in &blocks {
                let kw = pack::block(mode, side, parts, block, outputs.clone(), panels);
                let c = out_ptr.get().wrapping_add(rows.start * n + outputs.start);
                let a = &lhs.words[rows.start * lhs.stride + offset..];
                // SAFETY: `c` with `rows.len()` rows of `outputs.len()` numbers, `n` apart, lies in `out`
                // (checked by the slice above) and belongs to this task alone.
                unsafe {
                    tile_product(
                        mode,
                        Operands { a, lda: lhs.stride, m: rows.len(), b: panels, kw },
                        Output { c, ldc: n, n: outputs.len(), accumulate },
                    );
                }
                accumulate = true;
                offset += kw;
            }
        });
    });
}

/// A right-hand matrix that is packed once and used by several products of one task.
#[derive(Default)]
pub struct Packed {
    panels: Vec<u32>,
    kw: usize,
    n: usize,
}

impl Packed {
    /// Packs a whole small matrix, replacing what was there.
    pub fn pack(&mut self, mode: Mode, side: Side, matrix: Matrix<'_>) {
        let (len, n) = match side {
            Side::Rows => (matrix.cols(), matrix.rows()),
            Side::Cols => (matrix.rows(), matrix.cols()),
        };
        self.kw = mode.words().count(len);
        let needed = n.div_ceil(kernel::PANEL) * kernel::PANEL * self.kw;
        self.panels.resize(needed.max(self.panels.len()), 0);
        pack::pack(mode, side, &matrix, 0..n, 0..len, &mut self.panels);
        self.n = n;
    }
}

/// `out (+)= lhs x rhs` on the calling thread; rows of `out` are `ldc` apart.
pub fn local_product(mode: Mode, lhs: Lhs<'_>, rhs: &Packed, accumulate: bool, out: &mut [f32], ldc: usize) {
    let (m, n) = (lhs.m, rhs.n);
    assert!(m == 0 || (ldc >= n && out.len() >= (m - 1) * ldc + n), "output is too short");
    let ab = Operands { a: lhs.words, lda: lhs.stride, m, b: &rhs.panels, kw: rhs.kw };
    // SAFETY: `out` is borrowed mutably and, by the assertion, holds all rows.
    unsafe { tile_product(mode, ab, Output { c: out.as_mut_ptr(), ldc, n, accumulate }) }
}
