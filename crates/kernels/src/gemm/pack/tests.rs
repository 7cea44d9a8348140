//! Panels against their definition, element by element.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::options::Precision;
use crate::testing::{DTYPES, random, weight};
use crate::weight::WeightBytes;

/// Words that no element gives: a NaN with a payload.
const UNTOUCHED: u32 = 0x7fba_beef;

/// All elements of a matrix, as the plain loops expand them.
fn elements(matrix: &Matrix<'_>) -> Vec<Vec<f32>> {
    let rows = stored_rows(matrix);
    (0..rows.rows())
        .map(|i| {
            let mut row = vec![f32::NAN; rows.cols()];
            dequant::reference::expand(rows.dtype(), rows.row(i, 0..rows.cols()), &mut row);
            row
        })
        .collect()
}

/// Whether a word's 16 or 32 bits are those of `x`. NaN may be any NaN; pairs may hold 0 for a subnormal.
fn is_element(words: Words, got: u32, x: f32) -> bool {
    let value = if words == Words::Bf16Pairs { got << 16 } else { got };
    let want = if words == Words::F32 { x } else { round_bf16(x) };
    let zero = words == Words::Bf16Pairs && x.is_subnormal() && value & 0x7fff_ffff == 0;
    zero || value == want.to_bits() || (x.is_nan() && f32::from_bits(value).is_nan())
}

fn check(side: Side, matrix: &Matrix<'_>, outputs: Range<usize>, range: Range<usize>) {
    let all = elements(matrix);
    let at = |output: usize, k: usize| match (side, outputs.contains(&output) && range.contains(&k)) {
        (_, false) => 0.0,
        (Side::Rows, _) => all[output][k],
        (Side::Cols, _) => all[k][output],
    };
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16] {
            let mode = Mode::new(isa, precision);
            let words = mode.words();
            let kw = words.count(range.len());
            let used = outputs.len().div_ceil(PANEL) * kw * PANEL;
            let mut panels = vec![UNTOUCHED; used + 5];
            let part = Part {
                mode,
                form: PanelForm::Numbers(words),
                side,
                rows: stored_rows(matrix),
                scales: &[],
                outputs: outputs.clone(),
                range: range.clone(),
            };
            part.pack(&mut panels);
            for (i, &word) in panels[..used].iter().enumerate() {
                let (panel, word_row, column) = (i / PANEL / kw, i / PANEL % kw, i % PANEL);
                let output = outputs.start + panel * PANEL + column;
                let k = range.start + word_row * words.per_word();
                let same = if words == Words::Bf16Pairs {
                    is_element(words, word & 0xffff, at(output, k))
                        && is_element(words, word >> 16, at(output, k + 1))
                } else {
                    is_element(words, word, at(output, k))
                };
                assert!(same, "{isa} {words:?}: {word:#x} for output {output}, element {k}");
            }
            assert!(panels[used..].iter().all(|&w| w == UNTOUCHED), "{isa} {words:?}: too much is written");
        }
    }
}

/// The integers of a part of a finite matrix, byte by byte, on every instruction set.
fn check_integers(side: Side, w: &WeightBytes, outputs: Range<usize>, range: Range<usize>) {
    let matrix = Matrix::Stored(w);
    let all = elements(&matrix);
    for isa in Isa::available() {
        let mut scales = vec![f32::NAN; w.rows];
        int8::row_scales(isa, w, 0, &mut scales);
        for (row, &scale) in all.iter().zip(&scales) {
            let largest = row.iter().fold(0.0f32, |a, x| a.max(x.abs()));
            assert!((scale * 127.0 - largest).abs() <= 1e-6 * largest, "{isa}: scale {scale} of {largest}");
        }
        let part = Part {
            mode: Mode::new(isa, Precision::Int8),
            form: PanelForm::Int8,
            side,
            rows: stored_rows(&matrix),
            scales: &scales,
            outputs: outputs.clone(),
            range: range.clone(),
        };
        let kw = PanelForm::Int8.count(range.len());
        let used = outputs.len().div_ceil(PANEL) * kw * PANEL;
        let mut panels = vec![UNTOUCHED; used + 5];
        part.pack(&mut panels);
        for (o, output) in outputs.clone().enumerate() {
            for (i, k) in range.clone().enumerate() {
                let word = panels[(o / PANEL * kw + i / 4) * PANEL + o % PANEL];
                let (row, col) = if side == Side::Rows { (output, k) } else { (k, output) };
                let want = (all[row][col] * int8::inverse(scales[row])).round_ties_even() + 128.0;
                let got = f32::from(word.to_le_bytes()[i % 4]);
                assert_eq!(got, want, "{isa}: output {output}, element {k}");
            }
        }
        assert!(panels[used..].iter().all(|&w| w == UNTOUCHED), "{isa}: too much is written");
    }
}

/// A range in `0..len` whose ends are multiples of `step`.
fn part(len: usize, step: usize, (a, b): (usize, usize)) -> Range<usize> {
    let steps = len / step + 1;
    let (a, b) = (a % steps * step, b % steps * step);
    a.min(b)..a.max(b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_part_of_a_stored_matrix(
        form in 0usize..DTYPES.len(), rows in 1usize..90, blocks in 1usize..4, plain_cols in 1usize..700,
        ends in any::<[(usize, usize); 2]>(),
    ) {
        let len = DTYPES[form].block_len();
        let (cols, step) = if len == 1 { (plain_cols, 1) } else { (blocks * len, STORED_STEP) };
        let w = weight(DTYPES[form], rows, cols, 1);
        let (of_rows, of_cols) = (part(rows, 1, ends[0]), part(cols, step, ends[1]));
        check(Side::Rows, &Matrix::Stored(&w), of_rows.clone(), of_cols.clone());
        check(Side::Cols, &Matrix::Stored(&w), of_cols.clone(), of_rows.clone());
        check_integers(Side::Rows, &w, of_rows.clone(), of_cols.clone());
        check_integers(Side::Cols, &w, of_cols, of_rows);
    }
}

#[test]
fn whole_matrices_of_every_form() {
    for dtype in DTYPES {
        for rows in [1, 15, 16, 17, 31, 32, 33, 96] {
            let cols = 2 * dtype.block_len().max(48);
            let w = weight(dtype, rows, cols, rows as u64);
            check(Side::Rows, &Matrix::Stored(&w), 0..rows, 0..cols);
            check(Side::Cols, &Matrix::Stored(&w), 0..cols, 0..rows);
        }
    }
}

#[test]
fn numbers_in_memory_with_gaps_between_rows() {
    let data = random(1, 39 * 50 + 45);
    let matrix = Matrix::Plain { data: &data, rows: 40, cols: 45, stride: 50 };
    check(Side::Rows, &matrix, 3..40, 1..44);
    check(Side::Cols, &matrix, 1..44, 3..40);
}

/// Every bit pattern of 16 bits, and f32 around each border of rounding.
#[test]
fn special_numbers() {
    let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let singles: Vec<u8> = (0..=u16::MAX)
        .flat_map(|h| ((u32::from(h) << 16) + 0x7fff + u32::from(h % 3)).to_le_bytes())
        .collect();
    for (dtype, bytes) in
        [(WeightDtype::F16, &halves), (WeightDtype::Bf16, &halves), (WeightDtype::F32, &singles)]
    {
        let range = 0..bytes.len();
        let w = WeightBytes::new(dtype, 64, 1024, std::sync::Arc::new(bytes.clone()), range);
        check(Side::Rows, &Matrix::Stored(&w), 0..64, 0..1024);
        check(Side::Cols, &Matrix::Stored(&w), 0..1024, 0..64);
    }
}
