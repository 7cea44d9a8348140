//! Few rows give the bits of one row. Values are tested through `linear`.

use super::*;
use crate::options::Precision;
use crate::testing::{DTYPES, nan, random, weight};

#[test]
fn the_number_of_rows_changes_no_bit() {
    let pool = Pool::new(2).expect("threads");
    for dtype in DTYPES {
        let len = dtype.block_len();
        for k in if len == 1 { [1, 111, 160] } else { [len, 2 * len, 3 * len] } {
            let n = 45;
            let w = weight(dtype, n, k, 1);
            let x = random(2, MAX_M * k);
            for isa in Isa::available() {
                for precision in [Precision::F32, Precision::Bf16] {
                    let run = |rows: std::ops::Range<usize>| -> Vec<u32> {
                        let (mode, x) = (Mode::new(isa, precision), &x[rows.start * k..rows.end * k]);
                        let mut out = nan(rows.len() * n);
                        let w = Matrix::Stored(&w);
                        product(&pool, mode, x, rows.len(), w, 0.5, Start::Zero, &mut out);
                        out.into_iter().map(f32::to_bits).collect()
                    };
                    let single: Vec<u32> = (0..MAX_M).flat_map(|j| run(j..j + 1)).collect();
                    for m in 2..=MAX_M {
                        assert!(run(0..m) == single[..m * n], "{dtype:?} {isa} {precision:?} {m} rows");
                    }
                }
            }
        }
    }
}
