//! Stored forms against an independent decoder, and every instruction set against the plain loops.

use crate::dequant::{self, reference};
use crate::options::Isa;
use crate::testing::{DTYPES, Seeded, weight};
use crate::weight::WeightDtype;

/// Blocks and values written by the Python package `gguf` (`gguf.quants.dequantize`), which follows ggml.
/// Lines: form, bytes in hex, values as f32 bits in hex.
const FIXTURE: &str = include_str!("fixture.txt");

fn dtype_of(name: &str) -> WeightDtype {
    let known = DTYPES
        .into_iter()
        .find(|d| format!("{d:?}").to_uppercase().replace('_', "") == name.replace('_', ""));
    known.expect("a form that the tests know")
}

#[test]
fn agrees_with_gguf() {
    let mut seen = 0;
    for line in FIXTURE.lines() {
        let mut fields = line.split(' ');
        let dtype = dtype_of(fields.next().expect("form"));
        let hex = fields.next().expect("bytes");
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect();
        let want: Vec<u32> = fields.map(|v| u32::from_str_radix(v, 16).expect("hex")).collect();
        let mut out = vec![f32::NAN; want.len()];
        reference::expand(dtype, &bytes, &mut out);
        let got: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
        assert_eq!(got, want, "{dtype:?}");
        seen += 1;
    }
    assert_eq!(seen, DTYPES.len(), "one line per form");
}

#[test]
fn halves_of_every_bit_pattern() {
    for bits in 0..=u16::MAX {
        let (got, want) = (reference::f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
        assert!(
            got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
            "{bits:#x}: {got} {want}"
        );
        let (got, want) = (reference::bf16_to_f32(bits), half::bf16::from_bits(bits).to_f32());
        assert!(
            got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
            "{bits:#x}: {got} {want}"
        );
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    for dtype in DTYPES {
        for blocks in [0, 1, 2, 3, 5] {
            let cols = if dtype.block_len() == 1 { 17 * blocks } else { dtype.block_len() * blocks };
            let w = weight(dtype, 3, cols, 9 + blocks as u64);
            for row in 0..3 {
                let mut want = vec![f32::NAN; cols];
                reference::expand(dtype, dequant::row_bytes(&w, row, 0..cols), &mut want);
                for isa in Isa::available() {
                    let mut got = vec![f32::NAN; cols];
                    dequant::expand_row(isa, &w, row, 0..cols, &mut got);
                    let same = got.iter().zip(&want).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same && got.len() == want.len(), "{dtype:?} on {isa}");
                }
            }
        }
    }
}

#[test]
fn parts_of_a_row() {
    let mut seeded = Seeded(3);
    for dtype in DTYPES {
        let len = dtype.block_len();
        let w = weight(dtype, 2, 7 * len, seeded.next());
        let mut whole = vec![0.0; 7 * len];
        dequant::expand_row(Isa::Plain, &w, 1, 0..7 * len, &mut whole);
        let mut part = vec![0.0; 3 * len];
        dequant::expand_row(Isa::Plain, &w, 1, 2 * len..5 * len, &mut part);
        assert_eq!(part, whole[2 * len..5 * len], "{dtype:?}");
    }
}
