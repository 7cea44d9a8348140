//! Row moves against the reference.

use crate::backend::{Backend, Columns};
use crate::options::Precision;
use crate::testing::{Case, DTYPES, check, check_threads, nan, random, weight};
use crate::weight::WeightDtype;

struct Moves {
    dtype: WeightDtype,
    n: usize,
    c: usize,
}

impl Case for Moves {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        let Self { dtype, n, c } = *self;
        let table = b.weight(weight(dtype, 20, c, 1));
        let ids: Vec<u32> = (0..n as u32).map(|i| i * 13 % 20).collect();
        let mut embedded = b.upload(&nan(n * c));
        b.embed(&table, &ids, 2.0, &mut embedded);
        let x = b.upload(&random(2, (n + 5) * c));
        let rows: Vec<u32> = (0..n as u32).rev().collect();
        let mut gathered = b.upload(&nan(n * c));
        b.gather_rows(&x, &rows, c, &mut gathered);
        let mut scattered = b.upload(&random(3, (n + 5) * c));
        b.scatter_rows(&gathered, &rows, c, &mut scattered);
        let mut sum = b.upload(&random(4, n * c));
        b.add(&x, &mut sum, n * c);
        let mut copied = b.upload(&random(5, (n + 2) * c));
        b.copy_rows(&x, 3, n, c, &mut copied, 2);
        let (mut operands, mut back) = (b.operands((n + 2) * c), b.upload(&nan(n * c)));
        b.copy_rows(&x, 3, n, c, &mut operands, 2);
        b.copy_rows(&operands, 2, n, c, &mut back, 0);
        let (from, to) = (Columns { row: c, start: c / 3 }, Columns { row: c + 2, start: 1 });
        let mut columns = b.upload(&random(7, n * (c + 2)));
        b.copy_columns(&x, from, n, c - c / 3, &mut columns, to);
        let mut written = b.zeros((n + 2) * c);
        b.write(&mut written, &random(6, n * c));
        let mut cleared = b.upload(&nan(n));
        b.clear(&mut cleared);
        assert_eq!(b.len(&written), (n + 2) * c);
        [embedded, gathered, scattered, sum, copied, back, columns, written, cleared]
            .iter()
            .map(|x| b.download(x))
            .collect()
    }
}

/// Exact but for one rounding of a sum, and for operands, which are rounded to bf16.
fn tolerance(precision: Precision) -> (f64, f64) {
    match precision {
        Precision::F32 => (0.0, 6e-8),
        Precision::Bf16 | Precision::Int8 => (0.0, 2f64.powi(-8)),
    }
}

#[test]
fn any_shape() {
    for dtype in DTYPES {
        for n in [0, 1, 5] {
            check(&Moves { dtype, n, c: 256 }, tolerance);
        }
    }
    for c in [1, 15, 16, 17, 65] {
        check(&Moves { dtype: WeightDtype::F32, n: 300, c }, tolerance);
    }
}

#[test]
fn threads_change_no_bit() {
    check_threads(&Moves { dtype: WeightDtype::Q4_1, n: 3000, c: 64 });
}
