//! How a product is cut into tasks, and what a task does: it expands its panels, block after block of the reduction,
//! and multiplies its rows with them.

use std::cell::RefCell;
use std::ops::Range;

use crate::aligned::Aligned;
use crate::numbers::Form;
use crate::options::Isa;
use crate::simd::{per_isa, to_bf16};

use super::kernel::{self, Output, PANEL, tile_product};
use super::pack::{self, PanelForm};
use super::{Map, Mode, Piece, Product, Side, Start, Term, int8};

/// Reductions of at most so many words are one sum in registers.
const WHOLE_WORDS: usize = 1920;
/// Longer ones are sums of blocks of about so many words: [`TASK_PANELS`] panels of a block fit [`PANEL_BYTES`].
const BLOCK_WORDS: usize = 1024;
/// Size of the packed panels of a task at most, if one panel is not larger.
const PANEL_BYTES: usize = 400 * 1024;
/// Panels per task at most: each row of the left side is read once for all of them.
const TASK_PANELS: usize = 3;
/// Rows are never split into chunks of fewer than this, since each chunk expands the matrix again.
const MIN_TASK_ROWS: usize = 480;
/// Rows of a task at most: more would leave the last cache between one column of tasks and the next.
const MAX_TASK_ROWS: usize = 1536;

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
    static PANELS: RefCell<Aligned<u32>> = RefCell::default();
    /// Sums of the task that this thread runs, if they cannot be kept in the output.
    static SUMS: RefCell<Aligned<f32>> = RefCell::default();
}

/// Address of an output for tasks that write disjoint tiles of it.
#[derive(Clone, Copy)]
pub(super) struct OutPtr<T>(pub(super) *mut T);
// SAFETY: tasks write disjoint elements (each owns a range of rows and columns) and read no others.
unsafe impl<T> Send for OutPtr<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for OutPtr<T> {}

impl<T> OutPtr<T> {
    pub(super) fn get(&self) -> *mut T {
        self.0
    }
}

/// A product as tasks see it.
pub(super) struct Plan<'a> {
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
    pub(super) fn new(mode: Mode, product: &'a mut Product<'_>) -> Plan<'a> {
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

    pub(super) fn is_empty(&self) -> bool {
        self.m == 0 || self.n == 0
    }

    pub(super) fn check_output(&self) {
        let used = self.m.saturating_sub(1) * self.stride + self.n;
        assert!(self.m == 0 || (self.stride >= self.n && self.len >= used), "output is too short");
    }

    /// Splits the rows into about `chunks` parts of whole tiles.
    pub(super) fn split_rows(&mut self, mode: Mode, chunks: usize) {
        let chunks = chunks.min(self.m.div_ceil(MIN_TASK_ROWS)).max(self.m.div_ceil(MAX_TASK_ROWS)).max(1);
        self.chunk_rows = self.m.div_ceil(chunks).next_multiple_of(mode.tile_rows()).max(1);
        self.row_chunks = self.m.div_ceil(self.chunk_rows);
    }

    pub(super) fn tasks(&self) -> usize {
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

    pub(super) fn run(&self, mode: Mode, task: usize) {
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
            let sums = sums.take(rows.len() * outputs.len());
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
    pub(super) fn run_mapped(&self, mode: Mode, task: usize, map: &mut Map<'_>, keep: bool) {
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
            let sums = sums.take(height * width);
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
                let mut rest = panels.take(width * depth);
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
