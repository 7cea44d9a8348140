//! Last words of terms, filled up to the depth of a tile.

use super::registers::Segment;
use super::{BATCH, COLUMNS, DEPTH, ROWS, Term};

/// Last words of terms side by side, filled up with zeros to the depth of a tile.
#[repr(C, align(64))]
pub struct Pad {
    a: [[u32; DEPTH]; ROWS],
    b: [[u32; COLUMNS]; DEPTH],
    /// Words from this one on are 0 on both sides.
    zero_from: usize,
}

/// The pads of a batch of terms.
pub struct Pads {
    pads: [Pad; BATCH],
    /// Pads in use.
    used: usize,
    /// Words in use of the last one of them.
    at: usize,
}

impl Pads {
    pub const fn new() -> Self {
        const PAD: Pad = Pad { a: [[0; DEPTH]; ROWS], b: [[0; COLUMNS]; DEPTH], zero_from: 0 };
        Self { pads: [PAD; BATCH], used: 0, at: DEPTH }
    }

    /// Begins a batch.
    pub fn clear(&mut self) {
        (self.used, self.at) = (0, DEPTH);
    }

    /// Copies the last words of a term, if they are no whole step.
    ///
    /// # Safety
    /// As [`super::Tiles::product`].
    pub unsafe fn push(&mut self, term: Term, rows: usize) {
        let len = term.kw % DEPTH;
        if len == 0 {
            return;
        }
        if self.at + len > DEPTH {
            self.fill_up();
            (self.used, self.at) = (self.used + 1, 0);
        }
        let pad = &mut self.pads[self.used - 1];
        let done = term.kw - len;
        // SAFETY: the last `len` words of each row, and the last `len` rows of the panel.
        unsafe {
            let (a, b) = (term.a.add(done), term.b.add(done * COLUMNS));
            pad.copy_rows(a, term.lda, rows, self.at, len);
            std::ptr::copy_nonoverlapping(b.cast(), pad.b[self.at..].as_mut_ptr(), len);
        }
        self.at += len;
    }

    /// Ends the batch: its pads.
    pub fn finish(&mut self) -> &[Pad] {
        self.fill_up();
        &self.pads[..self.used]
    }

    fn fill_up(&mut self) {
        if let Some(last) = self.used.checked_sub(1) {
            self.pads[last].zero(self.at);
        }
    }
}

impl Pad {
    /// The whole pad as one step of a walk.
    pub fn segment(&self) -> Segment {
        let (a, b) = (self.a.as_ptr().cast(), self.b.as_ptr().cast());
        Segment { a, a_stride_bytes: size_of::<[u32; DEPTH]>(), b, steps: 1 }
    }

    /// Copies `len` words of each row to word `at` on.
    ///
    /// # Safety
    /// The words must be readable.
    unsafe fn copy_rows(&mut self, a: *const u32, lda: usize, rows: usize, at: usize, len: usize) {
        // LoRA ranks of 8, 16 and 24: a copy of constant length is a move or two.
        // SAFETY: same contract.
        unsafe {
            match len {
                4 => self.copy_words::<4>(a, lda, rows, at),
                8 => self.copy_words::<8>(a, lda, rows, at),
                12 => self.copy_words::<12>(a, lda, rows, at),
                _ => (0..len).for_each(|i| self.copy_words::<1>(a.add(i), lda, rows, at + i)),
            }
        }
    }

    /// # Safety
    /// The words must be readable.
    unsafe fn copy_words<const N: usize>(&mut self, a: *const u32, lda: usize, rows: usize, at: usize) {
        for (row, out) in self.a[..rows].iter_mut().enumerate() {
            // SAFETY: same contract.
            out[at..at + N].copy_from_slice(unsafe { &*a.add(row * lda).cast::<[u32; N]>() });
        }
    }

    /// Makes the words from `at` on zero.
    fn zero(&mut self, at: usize) {
        if self.zero_from > at {
            self.a.iter_mut().for_each(|row| row[at..].fill(0));
            self.b[at..].iter_mut().for_each(|row| row.fill(0));
        }
        self.zero_from = at;
    }
}
