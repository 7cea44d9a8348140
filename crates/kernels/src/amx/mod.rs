//! Matrix products of bf16 pairs or 8-bit integers in tile registers (AMX-BF16, AMX-INT8), by inline assembly.
//!
//! [`with`] lends a thread its tile registers for a stretch of work; [`Tiles::product`] and [`Tiles::integers`] compute up to
//! [`ROWS`] x [`COLUMNS`] sums in them: four accumulators of 16 x 16, two tiles of the left side (16 rows of 16
//! words) and two of the right side (16 words deep, 16 outputs wide). Per 16 words that is four loads of
//! 1 KiB and four products.
//!
//! Configuring the registers costs about 200 cycles, so it is done when the number of rows changes, not for
//! each product. At the end of the stretch they are released: state in use would add 8 KiB to every context
//! switch and signal of the thread, and would keep the core out of deep sleep.
//!
//! Sums of integers are exact. Order of a sum of bf16: along the reduction in steps of 16 words; within a step first elements and second
//! elements of the pairs apart, fused, then the two added to each other and to the sum. Rounding is to
//! nearest even, subnormal numbers count as 0. A depth that is no multiple of 16 words is filled up with
//! zeros, which changes no number.
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1 chapter 18, volume 2
//! (`TDPBF16PS`, `TDPBSUD`); Linux `Documentation/arch/x86/xstate.rst` (the permission).

mod detect;
mod pad;
mod registers;

#[cfg(test)]
mod emulator;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use pad::Pads;
use registers::{Dot, Segment, chain, configure, release, walk};

pub use detect::available;

/// Rows of a product at most.
pub const ROWS: usize = 32;
/// Outputs of a panel.
pub const COLUMNS: usize = 32;
/// Terms that are walked in one go: the input gradients of three linears that share an input, each with LoRA, are 6.
const BATCH: usize = 8;
/// Words along the reduction that one tile holds.
const DEPTH: usize = 16;
/// Rows of one tile.
const TILE_ROWS: usize = 16;
/// Operations of one round of [`Tiles::chain`]: four products of 16 x 16 sums over 16 pairs.
pub const CHAIN_FLOP: u64 = (ROWS * COLUMNS * DEPTH * 4) as u64;

/// One left matrix times one right panel.
#[derive(Clone, Copy)]
pub struct Term {
    /// Left words, each a pair of bf16 or four signed integers: rows `lda` words apart.
    pub a: *const u32,
    /// Words from row to row.
    pub lda: usize,
    /// Right words, `[kw][COLUMNS]`; integers are unsigned.
    pub b: *const u32,
    /// Depth in words.
    pub kw: usize,
}

/// Sums of a product, row-major.
#[repr(C, align(64))]
pub struct Sums(pub [[f32; COLUMNS]; ROWS]);

/// The tile registers of a thread. Only [`with`] lends them.
pub struct Tiles {
    /// Rows that the registers are configured for; 0 when they are not.
    configured: usize,
    sums: Sums,
    pads: Pads,
}

thread_local! {
    static TILES: RefCell<Tiles> = const { RefCell::new(Tiles::new()) };
}

/// Runs `work` with the tile registers of this thread, and releases them. Not to be nested.
///
/// # Safety
/// [`available`] must have said yes.
pub unsafe fn with<R>(work: impl FnOnce(&mut Tiles) -> R) -> R {
    struct Release<'a>(&'a mut Tiles);
    impl Drop for Release<'_> {
        fn drop(&mut self) {
            if self.0.configured > 0 {
                self.0.configured = 0;
                // SAFETY: the registers are configured, so the instruction exists.
                unsafe { release() };
            }
        }
    }
    TILES.with_borrow_mut(|tiles| {
        let tiles = Release(tiles);
        work(&mut *tiles.0)
    })
}

impl Tiles {
    const fn new() -> Self {
        Self { configured: 0, sums: Sums([[0.0; COLUMNS]; ROWS]), pads: Pads::new() }
    }

    /// Sums over the words of all `terms`. Rows from `rows` on and outputs from `columns` on are unspecified.
    /// A term may be empty; without any words the sums are 0.
    ///
    /// # Safety
    /// `rows` rows of `kw` words at each `a`, and `kw` rows of [`COLUMNS`] words at each `b`, must be readable.
    pub unsafe fn product(
        &mut self,
        terms: impl IntoIterator<Item = Term>,
        rows: usize,
        columns: usize,
    ) -> &Sums {
        // SAFETY: same contract.
        unsafe { self.run(Dot::Bf16, terms, rows, columns) }
        &self.sums
    }

    /// As [`Tiles::product`] of 8-bit integers, signed on the left and unsigned on the right side.
    ///
    /// # Safety
    /// As [`Tiles::product`].
    pub unsafe fn integers(&mut self, term: Term, rows: usize, columns: usize) -> &[[i32; COLUMNS]; ROWS] {
        // SAFETY: same contract.
        unsafe { self.run(Dot::Int8, [term], rows, columns) }
        bytemuck::cast_ref(&self.sums.0)
    }

    /// # Safety
    /// As [`Tiles::product`].
    unsafe fn run(&mut self, dot: Dot, terms: impl IntoIterator<Item = Term>, rows: usize, columns: usize) {
        assert!((1..=ROWS).contains(&rows) && (1..=COLUMNS).contains(&columns), "{rows} x {columns}");
        let Self { configured, sums, pads } = self;
        let mut terms = terms.into_iter().filter(|term| term.kw > 0).peekable();
        let mut resume = false;
        while terms.peek().is_some() {
            let mut segments = [Segment::NONE; 2 * BATCH];
            let mut used = 0;
            pads.clear();
            for term in terms.by_ref().take(BATCH) {
                if term.kw >= DEPTH {
                    let (a, b) = (term.a, term.b);
                    segments[used] = Segment { a, a_stride_bytes: 4 * term.lda, b, steps: term.kw / DEPTH };
                    used += 1;
                }
                // SAFETY: same contract.
                unsafe { pads.push(term, rows) };
            }
            for pad in pads.finish() {
                segments[used] = pad.segment();
                used += 1;
            }
            // SAFETY: `with` vouches for the instructions; the segments lie in readable terms and pads, and
            // there is one, because a term with words has whole steps, or words for a pad, or both.
            unsafe {
                if *configured != rows {
                    configure(rows);
                    *configured = rows;
                }
                walk(dot, &segments[..used], resume, rows, columns, (&raw mut sums.0).cast());
            }
            resume = true;
        }
        if !resume {
            *sums = Sums([[0.0; COLUMNS]; ROWS]);
        }
    }

    /// The products of `rounds` rounds between registers, of operands of 1: what the tile unit can do at most. The sum
    /// of all sums.
    pub fn chain(&mut self, rounds: u64) -> f32 {
        // SAFETY: `with` vouches for the instructions.
        unsafe {
            configure(ROWS);
            self.configured = ROWS;
            chain(rounds.max(1), &mut self.sums);
        }
        self.sums.0.as_flattened().iter().sum()
    }
}
