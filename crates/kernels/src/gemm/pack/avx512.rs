//! Panels in AVX-512: stored elements become words in registers and are stored once, in their place.
//!
//! Bounds: 32 elements take about 10 instructions to expand and 4 (pairs) or 8 (f32) shuffles per 32 words to
//! bring into the panel's order.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::Side;
use super::super::kernel::PANEL;
use super::{PanelForm, Part, Words};
use crate::dequant::avx512::{GROUP, Stored, by_form};
use crate::gemm::int8;

/// How many rows ahead parts of stored rows are fetched: they lie a whole row apart, which hardware does not
/// foresee.
const AHEAD_ROWS: usize = 48;
/// Rows whose words are brought into columns together.
const SQUARE: usize = 16;

/// Packs one part.
///
/// # Safety
/// Outputs and range must lie in the matrix and on block borders, and `panels` must hold all words.
pub(super) unsafe fn pack(part: &Part<'_>, panels: &mut [u32]) {
    let job = Job {
        first: part.rows.row(0, 0..part.rows.cols()).as_ptr(),
        stride: part.rows.stride(),
        rows: part.rows.rows(),
        outputs: part.outputs.clone(),
        range: part.range.clone(),
        panel_stride: part.panel_stride(),
        panels: panels.as_mut_ptr(),
        scales: part.scales,
    };
    // SAFETY: the caller's contract; words of bf16 pairs are used only where the instructions are available.
    unsafe {
        by_form!(part.rows.dtype(), S => match (part.side, part.form) {
            (Side::Rows, PanelForm::Numbers(Words::Bf16Pairs)) => rows_pairs::<S>(&job),
            (Side::Rows, PanelForm::Numbers(Words::RoundedF32)) => rows_singles::<S, true>(&job),
            (Side::Rows, PanelForm::Numbers(Words::F32)) => rows_singles::<S, false>(&job),
            (Side::Rows, PanelForm::Int8) => rows_quads::<S>(&job),
            (Side::Cols, PanelForm::Int8) => cols_quads::<S>(&job),
            (Side::Cols, PanelForm::Numbers(Words::Bf16Pairs)) => cols_pairs::<S>(&job),
            (Side::Cols, PanelForm::Numbers(Words::RoundedF32)) => cols_singles::<S, true>(&job),
            (Side::Cols, PanelForm::Numbers(Words::F32)) => cols_singles::<S, false>(&job),
        })
    }
}

/// A [`Part`] whose bounds are checked.
struct Job<'a> {
    /// The matrix's first row.
    first: *const u8,
    /// Bytes from row to row.
    stride: usize,
    /// Rows of the matrix.
    rows: usize,
    outputs: Range<usize>,
    range: Range<usize>,
    panel_stride: usize,
    panels: *mut u32,
    /// Of integers, one per row of the matrix.
    scales: &'a [f32],
}

impl Job<'_> {
    /// Address that group 0 of a row is counted from when columns begin at `col`, and the group of `col`.
    #[inline(always)]
    fn origin<S: Stored>(&self, row: usize, col: usize) -> (*const u8, usize) {
        let row = self.first.wrapping_add(row * self.stride);
        if S::BLOCK_LEN == 1 { (row.wrapping_add(col * S::BLOCK_BYTES), 0) } else { (row, col / GROUP) }
    }

    /// First word of the columns `16 * half ..` of panel `p`.
    #[inline(always)]
    fn out(&self, p: usize, half: usize) -> *mut u32 {
        self.panels.wrapping_add(p * self.panel_stride + SQUARE * half)
    }

    /// Calls `f` for each 16 columns of each panel with the rows that become these columns.
    #[inline(always)]
    fn for_each_square(&self, mut f: impl FnMut(*mut u32, Range<usize>)) {
        for (p, first) in self.outputs.clone().step_by(PANEL).enumerate() {
            for half in 0..PANEL / SQUARE {
                let first = first + SQUARE * half;
                f(self.out(p, half), first..(first + SQUARE).min(self.outputs.end));
            }
        }
    }
}

/// Bytes that `len` elements from a block border on take, rounded down.
#[inline(always)]
fn bytes_of<S: Stored>(len: usize) -> usize {
    len * S::BLOCK_BYTES / S::BLOCK_LEN
}

/// The first `n` of 16 lanes.
#[inline(always)]
fn lanes(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as u16
}

#[inline(always)]
fn prefetch(at: *const u8) {
    // SAFETY: a prefetch reads nothing and is in the baseline instructions.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

/// Up to 16 stored rows that become columns of a panel.
#[derive(Clone, Copy)]
struct Square {
    row: *const u8,
    stride: usize,
    rows: usize,
    /// Distance in bytes to what will be read after this square and its like.
    next: usize,
    out: *mut u32,
}

impl Square {
    /// The address of row `r`; rows that do not exist stand at the last one and are masked out later.
    #[inline(always)]
    fn row(&self, r: usize) -> *const u8 {
        self.row.wrapping_add(r.min(self.rows - 1) * self.stride)
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn zero_columns(out: *mut u32, words: usize) {
    for k in 0..words {
        // SAFETY: the panel has `words` rows of PANEL words.
        unsafe { _mm512_storeu_si512(out.add(k * PANEL).cast(), _mm512_setzero_si512()) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn rows_pairs<S: Stored>(job: &Job<'_>) {
    let len = job.range.len();
    job.for_each_square(|out, rows| {
        // SAFETY: the rows and the range lie in the matrix, the words in the panel.
        unsafe {
            if rows.is_empty() {
                return zero_columns(out, len.div_ceil(2));
            }
            let (row, g) = job.origin::<S>(rows.start, job.range.start);
            let stride = job.stride;
            let square = Square { row, stride, rows: rows.len(), next: SQUARE * stride, out };
            for k in 0..len / GROUP {
                square_pairs::<S, false>(square, g + k, k * GROUP / 2, GROUP);
            }
            let rest = len % GROUP;
            if S::BLOCK_LEN == 1 && rest > 0 {
                square_pairs::<S, true>(square, g + len / GROUP, (len - rest) / 2, rest);
            }
        }
    });
}

/// Group `g` of 16 rows to words `at..` of 16 columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn square_pairs<S: Stored, const TAIL: bool>(square: Square, g: usize, at: usize, len: usize) {
    let len = if TAIL { len } else { GROUP };
    let mut words = [_mm512_setzero_si512(); SQUARE];
    for (r, words) in words.iter_mut().enumerate() {
        let row = square.row(r);
        prefetch(row.wrapping_add(square.next + bytes_of::<S>(g * GROUP)));
        // SAFETY: the group lies in the row.
        *words = unsafe { S::pairs(row, g, len) };
    }
    // SAFETY: the words lie in the panel.
    unsafe { store_columns(words, square, at, len.div_ceil(2)) }
}

/// Elements whose integers fill a vector.
const QUADS: usize = 2 * GROUP;

/// 16 numbers as integers plus 128.
#[inline]
#[target_feature(enable = "avx512f")]
fn integers(x: __m512, factor: __m512) -> __m512i {
    _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x, factor)), _mm512_set1_epi32(128))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn rows_quads<S: Stored>(job: &Job<'_>) {
    let len = job.range.len();
    job.for_each_square(|out, rows| {
        // SAFETY: the rows and the range lie in the matrix, the words in the panel.
        unsafe {
            if rows.is_empty() {
                return zero_columns(out, len.div_ceil(int8::PER_WORD));
            }
            let (row, g) = job.origin::<S>(rows.start, job.range.start);
            let stride = job.stride;
            let square = Square { row, stride, rows: rows.len(), next: SQUARE * stride, out };
            let mut factors = [0.0; SQUARE];
            for (factor, &scale) in factors.iter_mut().zip(&job.scales[rows]) {
                *factor = int8::inverse(scale);
            }
            for k in (0..len).step_by(QUADS) {
                square_quads::<S>(square, g + k / GROUP, k / int8::PER_WORD, QUADS.min(len - k), &factors);
            }
        }
    });
}

/// Groups `g` and `g + 1` of 16 rows, `len` elements, to words `at..` of 16 columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn square_quads<S: Stored>(square: Square, g: usize, at: usize, len: usize, factors: &[f32; SQUARE]) {
    // After packing, 128 bits hold word i of each of four vectors: put the words of a vector together.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let mut words = [_mm512_setzero_si512(); SQUARE];
    for (r, words) in words.iter_mut().enumerate() {
        let row = square.row(r);
        prefetch(row.wrapping_add(square.next + bytes_of::<S>(g * GROUP)));
        let factor = _mm512_set1_ps(factors[r]);
        // SAFETY: the groups lie in the row.
        let [a, b] = unsafe { S::singles(row, g, len.min(GROUP)) };
        let first = _mm512_packs_epi32(integers(a, factor), integers(b, factor));
        let second = if len > GROUP {
            // SAFETY: as above.
            let [a, b] = unsafe { S::singles(row, g + 1, len - GROUP) };
            _mm512_packs_epi32(integers(a, factor), integers(b, factor))
        } else {
            _mm512_setzero_si512()
        };
        *words = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second));
    }
    // SAFETY: the words lie in the panel.
    unsafe { store_columns(words, square, at, len.div_ceil(int8::PER_WORD)) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn rows_singles<S: Stored, const ROUND: bool>(job: &Job<'_>) {
    let len = job.range.len();
    job.for_each_square(|out, rows| {
        // SAFETY: the rows and the range lie in the matrix, the words in the panel.
        unsafe {
            if rows.is_empty() {
                return zero_columns(out, len);
            }
            let (row, g) = job.origin::<S>(rows.start, job.range.start);
            let stride = job.stride;
            let square = Square { row, stride, rows: rows.len(), next: SQUARE * stride, out };
            for k in 0..len / GROUP {
                square_singles::<S, ROUND, false>(square, g + k, k * GROUP, GROUP);
            }
            let rest = len % GROUP;
            if S::BLOCK_LEN == 1 && rest > 0 {
                square_singles::<S, ROUND, true>(square, g + len / GROUP, len - rest, rest);
            }
        }
    });
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn square_singles<S: Stored, const ROUND: bool, const TAIL: bool>(
    square: Square,
    g: usize,
    at: usize,
    len: usize,
) {
    let len = if TAIL { len } else { GROUP };
    let mut low = [_mm512_setzero_si512(); SQUARE];
    let mut high = low;
    for r in 0..SQUARE {
        let row = square.row(r);
        prefetch(row.wrapping_add(square.next + bytes_of::<S>(g * GROUP)));
        // SAFETY: the group lies in the row.
        let [a, b] = unsafe { S::singles(row, g, len) };
        (low[r], high[r]) = (single_words::<ROUND>(a), single_words::<ROUND>(b));
    }
    // SAFETY: the words lie in the panel.
    unsafe {
        store_columns(low, square, at, len.min(SQUARE));
        store_columns(high, square, at + SQUARE, len.saturating_sub(SQUARE));
    }
}

/// f32 as words, rounded to bf16 (nearest even, NaN stays NaN) if asked.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn single_words<const ROUND: bool>(x: __m512) -> __m512i {
    let bits = _mm512_castps_si512(x);
    if !ROUND {
        return bits;
    }
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
    let quiet = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x40_0000));
    _mm512_and_si512(quiet, _mm512_set1_epi32(!0xffff))
}

/// Writes `words[row][word]`, `count` words of each row, as `[word][row]` from word `at` of the panel on.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_columns(words: [__m512i; SQUARE], square: Square, at: usize, count: usize) {
    let mask = lanes(square.rows);
    for (k, column) in transposed(words).into_iter().enumerate().take(count) {
        // SAFETY: the word lies in the panel, whose rows are PANEL words.
        unsafe {
            let out = square.out.add((at + k) * PANEL);
            _mm512_storeu_si512(out.cast(), _mm512_maskz_mov_epi32(mask, column));
        }
    }
}

/// Rows to columns: four words by four within quarters of a vector, then the quarters.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; SQUARE]) -> [__m512i; SQUARE] {
    let mut by_four = rows;
    for (out, r) in by_four.as_chunks_mut::<4>().0.iter_mut().zip(rows.as_chunks::<4>().0) {
        let (a, b) = (_mm512_unpacklo_epi32(r[0], r[1]), _mm512_unpackhi_epi32(r[0], r[1]));
        let (c, d) = (_mm512_unpacklo_epi32(r[2], r[3]), _mm512_unpackhi_epi32(r[2], r[3]));
        out[0] = _mm512_unpacklo_epi64(a, c);
        out[1] = _mm512_unpackhi_epi64(a, c);
        out[2] = _mm512_unpacklo_epi64(b, d);
        out[3] = _mm512_unpackhi_epi64(b, d);
    }
    let mut columns = rows;
    for c in 0..4 {
        let [p, q, r, s] = [by_four[c], by_four[4 + c], by_four[8 + c], by_four[12 + c]];
        let even = [_mm512_shuffle_i32x4::<0x88>(p, q), _mm512_shuffle_i32x4::<0x88>(r, s)];
        let odd = [_mm512_shuffle_i32x4::<0xdd>(p, q), _mm512_shuffle_i32x4::<0xdd>(r, s)];
        columns[c] = _mm512_shuffle_i32x4::<0x88>(even[0], even[1]);
        columns[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]);
        columns[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]);
    }
    columns
}

/// Asks for the blocks of the outputs in `count` rows that come later.
#[inline(always)]
fn prefetch_rows<S: Stored>(job: &Job<'_>, row: usize, count: usize) {
    let first = job.outputs.start / S::BLOCK_LEN * S::BLOCK_BYTES;
    let end = job.outputs.end.div_ceil(S::BLOCK_LEN) * S::BLOCK_BYTES;
    for row in (row + AHEAD_ROWS..job.rows).take(count) {
        let start = job.first.wrapping_add(row * job.stride + first);
        for line in (0..end - first).step_by(64) {
            prefetch(start.wrapping_add(line));
        }
        prefetch(start.wrapping_add(end - first - 1));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn cols_pairs<S: Stored>(job: &Job<'_>) {
    for (word, row) in job.range.clone().step_by(2).enumerate() {
        prefetch_rows::<S>(job, row, 2);
        let (first, g) = job.origin::<S>(row, job.outputs.start);
        let second = (row + 1 < job.range.end).then(|| job.origin::<S>(row + 1, job.outputs.start).0);
        for (p, col) in job.outputs.clone().step_by(PANEL).enumerate() {
            let len = PANEL.min(job.outputs.end - col);
            // SAFETY: the group lies in both rows, the words in the panel.
            unsafe {
                let a = S::pairs(first, g + p, len);
                let b = second.map_or_else(|| _mm512_setzero_si512(), |row| S::pairs(row, g + p, len));
                let out = job.out(p, 0).add(word * PANEL);
                _mm512_storeu_si512(out.cast(), interleaved::<0>(a, b));
                _mm512_storeu_si512(out.add(SQUARE).cast(), interleaved::<1>(a, b));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn cols_quads<S: Stored>(job: &Job<'_>) {
    for (word, row) in job.range.clone().step_by(int8::PER_WORD).enumerate() {
        prefetch_rows::<S>(job, row, int8::PER_WORD);
        let count = int8::PER_WORD.min(job.range.end - row);
        let mut rows = [(std::ptr::null::<u8>(), 0.0f32); int8::PER_WORD];
        let mut g = 0;
        for (i, (at, factor)) in rows.iter_mut().enumerate().take(count) {
            (*at, g) = job.origin::<S>(row + i, job.outputs.start);
            *factor = int8::inverse(job.scales[row + i]);
        }
        for (p, col) in job.outputs.clone().step_by(PANEL).enumerate() {
            let len = PANEL.min(job.outputs.end - col);
            let mut words = [_mm512_setzero_si512(); 2];
            for &(at, factor) in rows[..count].iter().rev() {
                let factor = _mm512_set1_ps(factor);
                // SAFETY: the group lies in the row.
                let numbers = unsafe { S::singles(at, g + p, len) };
                for (word, x) in words.iter_mut().zip(numbers) {
                    *word = _mm512_or_si512(_mm512_slli_epi32::<8>(*word), integers(x, factor));
                }
            }
            // SAFETY: the words lie in the panel.
            unsafe {
                let out = job.out(p, 0).add(word * PANEL);
                _mm512_storeu_si512(out.cast(), words[0]);
                _mm512_storeu_si512(out.add(SQUARE).cast(), words[1]);
            }
        }
    }
}

/// Half `HALF` of `a[0] b[0] a[1] b[1] ..`, elements of 16 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleaved<const HALF: i32>(a: __m512i, b: __m512i) -> __m512i {
    // Element i of `a` is chosen by i, of `b` by 32 + i; a word's index holds one of each.
    let steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let low = _mm512_add_epi32(steps, _mm512_set1_epi32(16 * HALF));
    let index = _mm512_or_si512(low, _mm512_slli_epi32::<16>(_mm512_add_epi32(low, _mm512_set1_epi32(32))));
    _mm512_permutex2var_epi16(a, index, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn cols_singles<S: Stored, const ROUND: bool>(job: &Job<'_>) {
    for (word, row) in job.range.clone().enumerate() {
        prefetch_rows::<S>(job, row, 1);
        let (first, g) = job.origin::<S>(row, job.outputs.start);
        for (p, col) in job.outputs.clone().step_by(PANEL).enumerate() {
            let len = PANEL.min(job.outputs.end - col);
            // SAFETY: the group lies in the row, the words in the panel.
            unsafe {
                let [a, b] = S::singles(first, g + p, len);
                let out = job.out(p, 0).add(word * PANEL);
                _mm512_storeu_si512(out.cast(), single_words::<ROUND>(a));
                _mm512_storeu_si512(out.add(SQUARE).cast(), single_words::<ROUND>(b));
            }
        }
    }
}
