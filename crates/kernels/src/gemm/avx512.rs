//! Tiles in AVX-512: up to 12 rows by 32 columns in 24 accumulators, f32 or bf16 pairs.
//!
//! Per word of the reduction: two loads of the panel, one broadcast per row, two multiply-adds per row.

use std::arch::x86_64::*;

use super::int8::{GROUP_WORDS, MARK_WORDS};
use super::kernel::{Int8, PANEL, Term, Tile};
use crate::numbers::Form;

/// How many words ahead panels are fetched.
const AHEAD_WORDS: usize = 16;

macro_rules! by_rows {
    ($f:ident, $tile:ident, $nv:literal, [$($mr:literal)*]) => {
        match $tile.mr {
            $($mr => $f::<$mr, $nv>($tile),)*
            _ => unreachable!("a tile has 1 to 12 rows"),
        }
    };
}

/// f32 words.
///
/// # Safety
/// The operands of the tile must be valid for what it describes.
#[target_feature(enable = "avx512f")]
pub unsafe fn tile_f32(tile: Tile<'_>) {
    // SAFETY: same contract.
    unsafe {
        if tile.nr > 16 {
            by_rows!(run_f32, tile, 2, [1 2 3 4 5 6 7 8 9 10 11 12])
        } else {
            by_rows!(run_f32, tile, 1, [1 2 3 4 5 6 7 8 9 10 11 12])
        }
    }
}

/// bf16 pairs.
///
/// # Safety
/// The operands of the tile must be valid for what it describes.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl")]
pub unsafe fn tile_bf16(tile: Tile<'_>) {
    // SAFETY: same contract.
    unsafe {
        if tile.nr > 16 {
            by_rows!(run_bf16, tile, 2, [1 2 3 4 5 6 7 8 9 10 11 12])
        } else {
            by_rows!(run_bf16, tile, 1, [1 2 3 4 5 6 7 8 9 10 11 12])
        }
    }
}

/// Terms of integers and of bf16 pairs.
///
/// # Safety
/// The operands of the tile must be valid for what it describes.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl,avx512vnni")]
pub unsafe fn tile_int8(tile: Tile<'_>) {
    // SAFETY: same contract.
    unsafe {
        if tile.nr > 16 {
            by_rows!(run_int8, tile, 2, [1 2 3 4 5 6 7 8 9 10 11 12])
        } else {
            by_rows!(run_int8, tile, 1, [1 2 3 4 5 6 7 8 9 10 11 12])
        }
    }
}

/// `scale * x` as bf16 pairs, a missing last one 0. Subnormal numbers become 0, as they would in the product.
/// `out` has one word per pair.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn pair_words(scale: f32, x: &[f32], out: &mut [u32]) {
    let scale = _mm512_set1_ps(scale);
    for (x, out) in x.chunks(32).zip(out.chunks_mut(16)) {
        let low = u16::MAX >> (16 - x.len().min(16));
        let high = ((1u32 << (x.len() - x.len().min(16))) - 1) as u16;
        let words = u16::MAX >> (16 - out.len());
        // SAFETY: the masks keep the reads to the 1 to 32 numbers and the writes to the words of the chunk.
        unsafe {
            let a = _mm512_maskz_loadu_ps(low, x.as_ptr());
            let b = _mm512_maskz_loadu_ps(high, x.as_ptr().wrapping_add(16));
            let pairs = _mm512_cvtne2ps_pbh(_mm512_mul_ps(scale, b), _mm512_mul_ps(scale, a));
            let pairs = std::mem::transmute::<__m512bh, __m512i>(pairs);
            _mm512_mask_storeu_epi32(out.as_mut_ptr().cast(), words, pairs);
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn run_f32<const MR: usize, const NV: usize>(tile: Tile<'_>) {
    // SAFETY: same contract.
    unsafe { fetch_output::<MR, NV>(&tile) };
    let mut sums = [[_mm512_setzero_ps(); NV]; MR];
    for term in tile.terms {
        // SAFETY: reads one word of each of MR rows and NV vectors of the panel, inside the tile.
        unsafe {
            let (mut a, mut b) = tile.operands(term);
            for _ in 0..term.kw {
                fetch_ahead::<NV>(b);
                let mut columns = [_mm512_setzero_ps(); NV];
                for (v, column) in columns.iter_mut().enumerate() {
                    *column = _mm512_loadu_ps(b.add(16 * v).cast());
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(f32::from_bits(*a.add(r * term.lda)));
                    for v in 0..NV {
                        sums[v] = _mm512_fmadd_ps(x, columns[v], sums[v]);
                    }
                }
                a = a.add(1);
                b = b.add(PANEL);
            }
        }
    }
    // SAFETY: same contract.
    unsafe {
        match tile.out.form {
            Form::F32 => store(tile, sums),
            Form::Bf16 => store_plainly(tile, sums),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl")]
unsafe fn run_bf16<const MR: usize, const NV: usize>(tile: Tile<'_>) {
    // SAFETY: same contract.
    unsafe { fetch_output::<MR, NV>(&tile) };
    let mut sums = [[_mm512_setzero_ps(); NV]; MR];
    for term in tile.terms {
        // SAFETY: same contract.
        unsafe { add_pairs(&tile, term, &mut sums) };
    }
    // SAFETY: same contract.
    unsafe {
        match tile.out.form {
            Form::F32 => store(tile, sums),
            Form::Bf16 => store_bf16(tile, sums),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl,avx512vnni")]
unsafe fn run_int8<const MR: usize, const NV: usize>(tile: Tile<'_>) {
    // SAFETY: same contract.
    unsafe { fetch_output::<MR, NV>(&tile) };
    let mut sums = [[_mm512_setzero_ps(); NV]; MR];
    for term in tile.terms {
        // SAFETY: same contract.
        unsafe {
            match &term.int8 {
                Some(int8) => add_integers(&tile, term, int8, &mut sums),
                None => add_pairs(&tile, term, &mut sums),
            }
        }
    }
    // SAFETY: same contract.
    unsafe {
        match tile.out.form {
            Form::F32 => store(tile, sums),
            Form::Bf16 => store_bf16(tile, sums),
        }
    }
}

/// Asks for the words that come [`AHEAD_WORDS`] later. Panels stand in L2, and the loop takes a line of them in six
/// cycles.
///
/// # Safety
/// None beyond the baseline instructions.
#[inline(always)]
unsafe fn fetch_ahead<const NV: usize>(b: *const u32) {
    for v in 0..NV {
        // SAFETY: a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(AHEAD_WORDS * PANEL + 16 * v).cast()) };
    }
}

/// Asks for the output's lines, which are written at the end: stores that miss the cache hold up those behind.
///
/// # Safety
/// None beyond the baseline instructions.
#[inline(always)]
unsafe fn fetch_output<const MR: usize, const NV: usize>(tile: &Tile<'_>) {
    let first = tile.row * tile.out.ldc + tile.panel * PANEL;
    for r in 0..MR {
        for v in 0..NV {
            let at = (first + r * tile.out.ldc + 16 * v) * tile.out.form.bytes();
            // SAFETY: a prefetch reads nothing.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(tile.out.c.wrapping_add(at).cast()) };
        }
    }
}

/// The lanes of vector `v` that are columns of the tile.
#[inline(always)]
fn lanes(tile: &Tile<'_>, v: usize) -> u16 {
    let left = tile.nr - 16 * v;
    if left >= 16 { u16::MAX } else { (1u16 << left) - 1 }
}

// What follows is always inlined: in a call the accumulators would be copied to memory and back. Such functions
// cannot name instruction sets; their callers do.

/// Adds a term of bf16 pairs.
///
/// # Safety
/// The operands of the tile must be valid for what it describes, and AVX-512 with BF16 available.
#[inline(always)]
unsafe fn add_pairs<const MR: usize, const NV: usize>(
    tile: &Tile<'_>,
    term: &Term,
    sums: &mut [[__m512; NV]; MR],
) {
    // SAFETY: reads one word of each of MR rows and NV vectors of the panel, inside the tile; a vector of 16 words is
    // a vector of 32 bf16.
    unsafe {
        let (mut a, mut b) = tile.operands(term);
        for _ in 0..term.kw {
            fetch_ahead::<NV>(b);
            let mut columns = [_mm512_setzero_si512(); NV];
            for (v, column) in columns.iter_mut().enumerate() {
                *column = _mm512_loadu_si512(b.add(16 * v).cast());
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_epi32((*a.add(r * term.lda)).cast_signed());
                for v in 0..NV {
                    sums[v] = _mm512_dpbf16_ps(
                        sums[v],
                        std::mem::transmute::<__m512i, __m512bh>(x),
                        std::mem::transmute::<__m512i, __m512bh>(columns[v]),
                    );
                }
            }
            a = a.add(1);
            b = b.add(PANEL);
        }
    }
}

/// Adds a term of integers, group by group.
///
/// # Safety
/// The operands of the tile must be valid for what it describes, and AVX-512 with VNNI available.
#[inline(always)]
unsafe fn add_integers<const MR: usize, const NV: usize>(
    tile: &Tile<'_>,
    term: &Term,
    int8: &Int8,
    sums: &mut [[__m512; NV]; MR],
) {
    // SAFETY: reads one word of each of MR rows and NV vectors of the panel, inside the tile, and a mark of each row;
    // the mask keeps the scales to the columns of the tile.
    unsafe {
        let (mut a, mut b) = tile.operands(term);
        for (group, first) in (0..term.kw).step_by(GROUP_WORDS).enumerate() {
            let mut marks = [std::ptr::null::<u32>(); MR];
            let mut integers = [[_mm512_setzero_si512(); NV]; MR];
            for r in 0..MR {
                marks[r] = tile.marks(term, int8, r, group);
                const _: () = assert!(MARK_WORDS == 2, "a scale and a start");
                integers[r] = [_mm512_set1_epi32((*marks[r].add(1)).cast_signed()); NV];
            }
            for _ in first..term.kw.min(first + GROUP_WORDS) {
                let mut columns = [_mm512_setzero_si512(); NV];
                for (v, column) in columns.iter_mut().enumerate() {
                    *column = _mm512_loadu_si512(b.add(16 * v).cast());
                }
                for (r, integers) in integers.iter_mut().enumerate() {
                    let x = _mm512_set1_epi32((*a.add(r * term.lda)).cast_signed());
                    for v in 0..NV {
                        integers[v] = _mm512_dpbusd_epi32(integers[v], columns[v], x);
                    }
                }
                a = a.add(1);
                b = b.add(PANEL);
            }
            for v in 0..NV {
                let scales = match int8.scales.is_null() {
                    true => _mm512_set1_ps(1.0),
                    false => {
                        _mm512_maskz_loadu_ps(lanes(tile, v), int8.scales.add(tile.panel * PANEL + 16 * v))
                    }
                };
                for r in 0..MR {
                    let scale = _mm512_mul_ps(_mm512_set1_ps(f32::from_bits(*marks[r])), scales);
                    let numbers = _mm512_cvtepi32_ps(integers[r][v]);
                    sums[r][v] = _mm512_add_ps(sums[r][v], _mm512_mul_ps(numbers, scale));
                }
            }
        }
    }
}

/// The bias of vector `v`, or zeros.
///
/// # Safety
/// The operands of the tile must be valid for what it describes, and AVX-512 available.
#[inline(always)]
unsafe fn bias(tile: &Tile<'_>, v: usize) -> __m512 {
    // SAFETY: the mask keeps the read to the columns of the tile, each of which has a bias.
    unsafe {
        if tile.out.bias.is_null() {
            return _mm512_setzero_ps();
        }
        _mm512_maskz_loadu_ps(lanes(tile, v), tile.out.bias.add(tile.panel * PANEL + 16 * v))
    }
}

/// Writes the sums as f32.
///
/// # Safety
/// The operands of the tile must be valid for what it describes, and AVX-512 available.
#[inline(always)]
pub unsafe fn store<const MR: usize, const NV: usize>(tile: Tile<'_>, sums: [[__m512; NV]; MR]) {
    let full = tile.nr == 16 * NV && tile.out.bias.is_null();
    for v in 0..NV {
        // SAFETY: the mask keeps reads and writes to the `nr` columns of rows below mr; without it they are
        // whole vectors of columns.
        unsafe {
            let c = tile.out.c.cast::<f32>().add(tile.row * tile.out.ldc + tile.panel * PANEL + 16 * v);
            if full && tile.out.add {
                for (r, sums) in sums.iter().enumerate() {
                    let c = c.add(r * tile.out.ldc);
                    _mm512_storeu_ps(c, _mm512_add_ps(_mm512_loadu_ps(c), sums[v]));
                }
                continue;
            }
            if full {
                for (r, sums) in sums.iter().enumerate() {
                    _mm512_storeu_ps(c.add(r * tile.out.ldc), sums[v]);
                }
                continue;
            }
            let (mask, bias) = (lanes(&tile, v), bias(&tile, v));
            for (r, sums) in sums.iter().enumerate() {
                let c = c.add(r * tile.out.ldc);
                let mut value = _mm512_add_ps(sums[v], bias);
                if tile.out.add {
                    value = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), value);
                }
                _mm512_mask_storeu_ps(c, mask, value);
            }
        }
    }
}

/// Writes the sums as bf16.
///
/// # Safety
/// The operands of the tile must be valid for what it describes, and AVX-512 with BF16 available.
#[inline(always)]
pub unsafe fn store_bf16<const MR: usize, const NV: usize>(tile: Tile<'_>, sums: [[__m512; NV]; MR]) {
    for v in 0..NV {
        // SAFETY: the mask keeps writes to the `nr` columns of rows below mr.
        unsafe {
            let (mask, bias) = (lanes(&tile, v), bias(&tile, v));
            let c = tile.out.c.cast::<i16>().add(tile.row * tile.out.ldc + tile.panel * PANEL + 16 * v);
            for (r, sums) in sums.iter().enumerate() {
                let value = _mm512_cvtneps_pbh(_mm512_add_ps(sums[v], bias));
                let value = std::mem::transmute::<__m256bh, __m256i>(value);
                _mm256_mask_storeu_epi16(c.add(r * tile.out.ldc), mask, value);
            }
        }
    }
}

/// bf16 outputs without the instruction that rounds to them.
#[target_feature(enable = "avx512f")]
unsafe fn store_plainly<const MR: usize, const NV: usize>(tile: Tile<'_>, sums: [[__m512; NV]; MR]) {
    for (r, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            let mut values = [0.0f32; 16];
            // SAFETY: `values` holds a vector; the row and its columns lie inside the tile.
            unsafe {
                _mm512_storeu_ps(values.as_mut_ptr(), sum);
                tile.store(r, 16 * v, &values[..16.min(tile.nr - 16 * v)]);
            }
        }
    }
}
