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
//! [`PANEL_BYTES`] and stay in L2. The whole matrix never exists expanded.
//!
//! Order of every sum: along R, term after term, one f32 accumulator per output element (with bf16 words the
//! instruction adds pairs), except that reductions of more than [`WHOLE_WORDS`] words add up blocks. It depends on the
//! shapes alone. With [`Precision::Bf16`] all inputs are rounded to bf16 (nearest even);
//! `vdpbf16ps` also flushes subnormal inputs and results to zero and rounds the pair's sum its own way, so the
//! error bound against exact sums of the rounded inputs is taken as `R * 2^-23 * sum |a b|` in all forms.
//!
//! A term may also multiply integers of 8 bits ([`int8`]); its sums join those of the other terms in f32.

pub mod int8;
mod kernel;
mod pack;
pub mod small;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ops::Range;

use crate::numbers::{Form, NumbersMut};
use crate::options::{Isa, Precision};
use crate::pool::Pool;
use crate::weight::WeightBytes;

use crate::simd::{per_isa, to_bf16};

use kernel::{Output, TILE_ROWS, VECTOR_ROWS, tile_product};

pub use kernel::{PANEL, prefetch};
pub use pack::{Words, lhs_row};

use pack::PanelForm;

/// Reductions of at most so many words are one sum in registers.
const WHOLE_WORDS: usize = 1920;
/// Longer ones are sums of blocks of about so many words: [`TASK_PANELS`] panels of a block fit [`PANEL_BYTES`].
const BLOCK_WORDS: usize = 1024;
/// Size of the packed panels of a task at most, if one panel is not larger.
const PANEL_BYTES: usize = 400 * 1024;
/// Words of a cache line.
const LINE_WORDS: usize = 16;
/// Panels per task at most: each row of the left side is read once for all of them.
const TASK_PANELS: usize = 3;
/// Rows are split as well until there are this many tasks per thread, so that threads end at about the same time.
const TASKS_PER_THREAD: usize = 4;
/// But never into chunks of fewer rows than this, since each chunk expands the matrix again.
const MIN_TASK_ROWS: usize = 480;
/// Rows of a task at most: more would leave the last cache between one column of tasks and the next.
const MAX_TASK_ROWS: usize = 1536;

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

/// Terms of one block of the reduction: number of the term, and the range of its reduction.
type Block = Vec<(usize, Range<usize>)>;

fn blocks(lengths: &[(PanelForm, usize)]) -> Vec<Block> {
    let whole = lengths.iter().map(|(form, len)| form.count(*len)).sum::<usize>() <= WHOLE_WORDS;
    if whole {
        return vec![lengths.iter().enumerate().map(|(term, &(_, len))| (term, 0..len)).collect()];
    }
    let mut blocks: Vec<Block> = Vec::new();
    let mut room = 0;
    for (term, &(form, len)) in lengths.iter().enumerate() {
        let step = BLOCK_WORDS * form.per_word();
        let mut start = 0;
        while start < len {
            let end = len.min(start + step);
            let count = form.count(end - start);
            if count > room {
                blocks.push(Vec::new());
                // A short part behind a whole block rides along.
                room = BLOCK_WORDS + BLOCK_WORDS / 4;
            }
            room -= count;
            blocks.last_mut().expect("made above").push((term, start..end));
            start = end;
        }
    }
    blocks
}

/// Outputs per task.
fn task_outputs(lengths: &[(PanelForm, usize)], blocks: &[Block]) -> usize {
    let depth = |block: &Block| block.iter().map(|(t, range)| lengths[*t].0.count(range.len())).sum();
    let deepest: usize = blocks.iter().map(depth).max().unwrap_or(0);
    (PANEL_BYTES / (4 * PANEL * deepest.max(1))).clamp(1, TASK_PANELS) * PANEL
}

thread_local! {
    /// Packed panels of the task that this thread runs.
    static PANELS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    /// Sums of the task that this thread runs, if they cannot be kept in the output.
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Address of an output for tasks that write disjoint tiles of it.
#[derive(Clone, Copy)]
struct OutPtr<T>(*mut T);
// SAFETY: tasks write disjoint elements (each owns a range of rows and columns) and read no others.
unsafe impl<T> Send for OutPtr<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for OutPtr<T> {}

impl<T> OutPtr<T> {
    fn get(&self) -> *mut T {
        self.0
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

/// A product as tasks see it.
struct Plan<'a> {
    side: Side,
    terms: &'a [Term<'a>],
    start: Start<'a>,
    out: OutPtr<u8>,
    form: Form,
    len: usize,
    stride: usize,
    m: usize,
    n: usize,
    blocks: Vec<Block>,
    task_outputs: usize,
    columns: usize,
    chunk_rows: usize,
    row_chunks: usize,
}

impl<'a> Plan<'a> {
    fn new(mode: Mode, product: &'a mut Product<'_>) -> Plan<'a> {
        let &mut Product { side, terms, start, ref mut out, stride } = product;
        let outputs = |t: &Term<'_>| if side == Side::Rows { t.right.rows() } else { t.right.cols() };
        let length = |t: &Term<'_>| if side == Side::Rows { t.right.cols() } else { t.right.rows() };
        let (m, n) = (terms[0].left.m, outputs(&terms[0]));
        for term in terms {
            let (left, words) = (term.left, term.form(mode).count(length(term)));
            assert!(left.m == m && outputs(term) == n, "terms of a product disagree on its shape");
            let marks = term.int8.map_or(0, |scales| {
                assert_eq!(scales.len(), term.right.rows(), "one scale per row of the matrix");
                length(term).div_ceil(int8::GROUP) * int8::MARK_WORDS
            });
            let row = words + marks;
            assert!(m == 0 || left.words.len() >= (m - 1) * left.stride + row, "left side is too short");
        }
        assert!(start.bias().is_none_or(|bias| bias.len() >= n), "bias is too short");
        let len = out.len();
        let (address, form) = out.as_ptr();
        assert!(form == Form::F32 || !matches!(start, Start::Out(_)), "only f32 outputs are added to");
        let lengths: Vec<_> = terms.iter().map(|term| (term.form(mode), length(term))).collect();
        let blocks = blocks(&lengths);
        let task_outputs = task_outputs(&lengths, &blocks);
        Plan {
            side,
            terms,
            start,
            out: OutPtr(address),
            form,
            len,
            stride,
            m,
            n,
            blocks,
            task_outputs,
            columns: n.div_ceil(task_outputs),
            chunk_rows: m,
            row_chunks: 1,
        }
    }

    fn check_output(&self) {
        let used = self.m.saturating_sub(1) * self.stride + self.n;
        assert!(self.m == 0 || (self.stride >= self.n && self.len >= used), "output is too short");
    }

    /// Splits the rows into about `chunks` parts of whole tiles.
    fn split_rows(&mut self, mode: Mode, chunks: usize) {
        let chunks = chunks.min(self.m.div_ceil(MIN_TASK_ROWS)).max(self.m.div_ceil(MAX_TASK_ROWS)).max(1);
        self.chunk_rows = self.m.div_ceil(chunks).next_multiple_of(mode.tile_rows()).max(1);
        self.row_chunks = self.m.div_ceil(self.chunk_rows);
    }

    fn tasks(&self) -> usize {
        self.columns * self.row_chunks
    }

    /// Outputs and rows of a task.
    fn part(&self, task: usize) -> (Range<usize>, Range<usize>) {
        // All columns of a chunk of rows follow one another, while its rows are in the cache.
        let (column, chunk) = (task % self.columns, task / self.columns);
        let outputs = column * self.task_outputs..self.n.min((column + 1) * self.task_outputs);
        let rows = chunk * self.chunk_rows..self.m.min((chunk + 1) * self.chunk_rows);
        (outputs, rows)
    }

    fn run(&self, mode: Mode, task: usize) {
        let (outputs, rows) = self.part(task);
        let first = rows.start * self.stride + outputs.start;
        let bias = self.start.bias().map_or(std::ptr::null(), |bias| bias[outputs.clone()].as_ptr());
        let out = Output {
            c: self.out.get().wrapping_add(first * self.form.bytes()),
            form: self.form,
            ldc: self.stride,
            n: outputs.len(),
            add: matches!(self.start, Start::Out(_)),
            bias,
        };
        if self.form == Form::F32 || self.blocks.len() == 1 {
            self.each_block(mode, &rows, &outputs, |block, terms| {
                let bias = if block > 0 { std::ptr::null() } else { out.bias };
                let out = Output { add: out.add || block > 0, bias, ..out };
                // SAFETY: `each_block` vouches for the terms; the output's rows and columns lie inside `out` and
                // belong to this task alone.
                unsafe { tile_product(mode, terms, rows.len(), out) };
            });
            return;
        }
        // Sums of several blocks, rounded once: all but the last go through f32 of our own.
        SUMS.with_borrow_mut(|sums| {
            sums.resize((rows.len() * outputs.len()).max(sums.len()), 0.0);
            let c = sums.as_mut_ptr().cast();
            self.each_block(mode, &rows, &outputs, |block, terms| {
                let bias = if block > 0 { std::ptr::null() } else { out.bias };
                let out =
                    Output { c, form: Form::F32, ldc: outputs.len(), add: block > 0, bias, n: outputs.len() };
                // SAFETY: `each_block` vouches for the terms; `sums` has room for all rows.
                unsafe { tile_product(mode, terms, rows.len(), out) };
            });
            // SAFETY: the rows and outputs belong to this task alone.
            unsafe { self.store(mode.isa, &rows, &outputs, sums) };
        });
    }

    /// As [`Plan::run`] of a product without a start value, whose pieces go through `map`. With `keep` they are
    /// stored then.
    fn run_mapped(&self, mode: Mode, task: usize, map: &mut Map<'_>, keep: bool) {
        let (outputs, rows) = self.part(task);
        let width = outputs.len();
        let mut finish = |rows: Range<usize>, values: &mut [f32]| {
            map(Piece { rows: rows.clone(), outputs: outputs.clone(), values });
            if keep {
                // SAFETY: the rows and outputs belong to this task alone.
                unsafe { self.store(mode.isa, &rows, &outputs, values) };
            }
        };
        SUMS.with_borrow_mut(|sums| {
            // One block is done tile by tile, so that a piece is still in L1 when it is looked at.
            let height = if self.blocks.len() == 1 { mode.tile_height(rows.len()) } else { rows.len() };
            sums.resize((height * width).max(sums.len()), 0.0);
            self.each_block(mode, &rows, &outputs, |block, terms| {
                for first in (0..rows.len()).step_by(height.max(1)) {
                    let count = height.min(rows.len() - first);
                    let sums = &mut sums[..count * width];
                    let c = sums.as_mut_ptr().cast();
                    let bias = std::ptr::null();
                    let out = Output { c, form: Form::F32, ldc: width, n: width, add: block > 0, bias };
                    let terms: Vec<_> = terms.iter().map(|term| term.skip_rows(first)).collect();
                    // SAFETY: `each_block` vouches for the terms; `sums` has room for the rows.
                    unsafe { tile_product(mode, &terms, count, out) };
                    if block + 1 == self.blocks.len() {
                        finish(rows.start + first..rows.start + first + count, sums);
                    }
                }
            });
        });
    }

    /// Stores `values`, `[rows, outputs]`.
    ///
    /// # Safety
    /// Nobody else may use these rows and outputs.
    unsafe fn store(&self, isa: Isa, rows: &Range<usize>, outputs: &Range<usize>, values: &[f32]) {
        let width = outputs.len();
        for (row, values) in rows.clone().zip(values.chunks_exact(width)) {
            let first = row * self.stride + outputs.start;
            // SAFETY: `Plan::new` checked that the row and its outputs lie inside the output, and the caller vouches
            // that they are this task's alone.
            unsafe {
                match self.form {
                    Form::F32 => {
                        let to = self.out.get().cast::<f32>().add(first);
                        to.copy_from_nonoverlapping(values.as_ptr(), width);
                    }
                    Form::Bf16 => {
                        let to = self.out.get().cast::<u16>().add(first);
                        round(isa, values, std::slice::from_raw_parts_mut(to, width));
                    }
                }
            }
        }
    }

    /// The marks of the groups of `range` of a left row of integers.
    fn marks<'w>(&self, term: &Term<'_>, range: &Range<usize>, row: &'w [u32]) -> &'w [u32] {
        let length = if self.side == Side::Rows { term.right.cols() } else { term.right.rows() };
        assert!(range.start.is_multiple_of(int8::GROUP), "a block begins with a group");
        &row[int8::marks_at(length) + range.start / int8::GROUP * int8::MARK_WORDS..]
    }

    /// Expands the matrices of one block after the other, and calls `body` with its number and terms, which can be
    /// read for all rows of `rows` and all panels of `outputs`.
    fn each_block(
        &self,
        mode: Mode,
        rows: &Range<usize>,
        outputs: &Range<usize>,
        mut body: impl FnMut(usize, &[kernel::Term]),
    ) {
        let width = outputs.len().div_ceil(PANEL) * PANEL;
        PANELS.with_borrow_mut(|panels| {
            for (b, block) in self.blocks.iter().enumerate() {
                let form = |t: usize| self.terms[t].form(mode);
                let depth: usize = block.iter().map(|(t, range)| form(*t).count(range.len())).sum();
                panels.resize((width * depth + LINE_WORDS - 1).max(panels.len()), 0);
                // Loads and stores of vectors that cross a border of cache lines count twice.
                let first = panels.as_ptr().align_offset(4 * LINE_WORDS).min(LINE_WORDS - 1);
                let mut rest = &mut panels[first..];
                let mut terms = Vec::with_capacity(block.len());
                for (t, range) in block {
                    let (term, form) = (&self.terms[*t], form(*t));
                    let kw = form.count(range.len());
                    let (own, others) = rest.split_at_mut(width * kw);
                    rest = others;
                    let part = pack::Part {
                        mode,
                        form,
                        side: self.side,
                        rows: pack::stored_rows(&term.right),
                        scales: term.int8.unwrap_or_default(),
                        outputs: outputs.clone(),
                        range: range.clone(),
                    };
                    part.pack(own);
                    let lda = term.left.stride;
                    let row = &term.left.words[rows.start * lda..];
                    let int8 = term.int8.map(|scales| kernel::Int8 {
                        marks: self.marks(term, range, row).as_ptr(),
                        scales: match self.side {
                            Side::Rows => scales[outputs.clone()].as_ptr(),
                            Side::Cols => std::ptr::null(),
                        },
                    });
                    let a = row[form.count(range.start)..].as_ptr();
                    terms.push(kernel::Term { a, lda, b: own.as_ptr(), kw, int8 });
                }
                // `Plan::new` checked that the left sides have `m` rows of all words, and `panels` holds the panels.
                body(b, &terms);
            }
        });
    }
}

/// Computes several products, which do not depend on one another, in one go.
pub fn products(pool: &Pool, mode: Mode, products: &mut [Product<'_>]) {
    let mut plans: Vec<Plan<'_>> = products.iter_mut().map(|product| Plan::new(mode, product)).collect();
    plans.iter().for_each(Plan::check_output);
    plans.retain(|plan| plan.m > 0 && plan.n > 0);
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

per_isa! {
    /// Rounds to bf16.
    fn round(x: &[f32], out: &mut [u16]) = round_body;
}

#[inline(always)]
fn round_body(x: &[f32], out: &mut [u16]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = to_bf16(x);
    }
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
