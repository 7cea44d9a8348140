//! Linear layers against the reference, for every stored form and both directions.

use proptest::prelude::*;

use crate::backend::{Backend, LoraSpan};
use crate::options::Precision;
use crate::reference::Reference;
use crate::testing::{Case, DTYPES, check, check_gradient, check_threads, nan, random, weight};
use crate::weight::WeightDtype;

#[derive(Debug)]
struct Linear {
    dtype: WeightDtype,
    t: usize,
    n: usize,
    k: usize,
    /// End of each span; they begin where the one before ended, the first at `first`.
    first: usize,
    ends: Vec<usize>,
    r: usize,
    bias: bool,
}

impl Case for Linear {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        let Self { t, n, k, r, .. } = *self;
        let w = b.weight(weight(self.dtype, n, k, 1));
        assert_eq!(b.weight_shape(&w), (n, k));
        let (x, dout) = (b.upload(&random(2, t * k)), b.upload(&random(3, t * n)));
        let bias = self.bias.then(|| b.upload(&random(4, n)));
        let low: Vec<_> = (0..self.ends.len() as u64)
            .map(|i| (b.upload(&random(10 + i, r * k)), b.upload(&random(20 + i, n * r))))
            .collect();
        let mut start = self.first;
        let mut spans = Vec::new();
        for (&end, (a, bb)) in self.ends.iter().zip(&low) {
            spans.push(LoraSpan { rows: start..end, a, b: bb, r, scale: 0.5 });
            start = end;
        }
        let mut xa: Vec<_> = spans.iter().map(|s| b.upload(&nan(s.rows.len() * r))).collect();
        let mut out = b.upload(&nan(t * n));
        b.linear(&x, t, &w, bias.as_ref(), &spans, Some(&mut xa), &mut out);
        let mut out_without_xa = b.upload(&nan(t * n));
        b.linear(&x, t, &w, bias.as_ref(), &spans, None, &mut out_without_xa);
        let mut dx = b.upload(&random(5, t * k));
        b.linear_backward_input(&dout, t, &w, spans.first(), &mut dx);
        let mut all = vec![b.download(&out), b.download(&out_without_xa), b.download(&dx)];
        if let Some(span) = spans.first() {
            let (mut da, mut db) = (b.upload(&random(6, r * k)), b.upload(&random(7, n * r)));
            b.linear_backward_lora(&dout, t, &x, &xa[0], span, &mut da, &mut db);
            all.extend([b.download(&da), b.download(&db)]);
        }
        all.extend(xa.iter().map(|xa| b.download(xa)));
        all
    }
}

/// Inputs are of magnitude 1 with random signs, so partial sums of L products grow as sqrt(L), and so do
/// independent roundings of them: about `L * 2^-24` in f32 (four times that is allowed) and
/// `sqrt(L) * 2^-7` for two bf16 roundings of each product. The low-rank path multiplies two such sums.
fn tolerance(case: &Linear, precision: Precision) -> (f64, f64) {
    let longest = case.k.max(case.n).max(case.t).max(1) as f64;
    let low = if case.ends.is_empty() { 1.0 } else { 1.0 + (case.r as f64).sqrt() * longest.sqrt() };
    match precision {
        Precision::F32 => (1e-6 + 4.0 * longest * 2f64.powi(-24) * low, 1e-6),
        Precision::Bf16 => ((longest.sqrt() + low) * 2f64.powi(-7) + low * 2f64.powi(-6), 2f64.powi(-6)),
    }
}

fn run(case: Linear) {
    check(&case, |precision| tolerance(&case, precision));
}

fn plain(dtype: WeightDtype, t: usize, n: usize, k: usize) -> Linear {
    Linear { dtype, t, n, k, first: 0, ends: Vec::new(), r: 0, bias: false }
}

#[test]
fn every_stored_form() {
    for dtype in DTYPES {
        for t in [1, 3, 13] {
            run(plain(dtype, t, 37, 512));
        }
    }
}

#[test]
fn borders_of_rows_columns_and_depth() {
    for (t, n, k) in [
        (0, 5, 7),
        (1, 1, 1),
        (8, 15, 16),
        (9, 16, 15),
        (12, 17, 31),
        (13, 31, 33),
        (24, 33, 63),
        (25, 63, 65),
        (9, 65, 127),
        (11, 97, 2047),
        (11, 7, 2049),
        (200, 64, 3),
        (9, 2100, 5),
    ] {
        run(plain(WeightDtype::F32, t, n, k));
        run(Linear { bias: true, ..plain(WeightDtype::Bf16, t, n, k) });
    }
}

#[test]
fn one_span_over_all_rows() {
    for (t, r) in [(1, 8), (8, 1), (9, 3), (70, 8), (70, 64), (20, 300)] {
        for (n, k) in [(64, 96), (33, 41)] {
            run(Linear { r, ends: vec![t], bias: t == 9, ..plain(WeightDtype::F32, t, n, k) });
        }
    }
}

#[test]
fn several_spans_and_rows_without_one() {
    for (t, first, ends) in
        [(7, 1, vec![3, 6]), (40, 0, vec![10, 13, 40]), (40, 5, vec![25]), (30, 0, vec![0, 12, 12, 29])]
    {
        run(Linear { r: 5, first, ends, ..plain(WeightDtype::F32, t, 50, 45) });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_shape(
        t in 0usize..60, n in 1usize..140, blocks in 1usize..4, form in 0usize..DTYPES.len(), r in 1usize..20,
        lora in any::<bool>(), bias in any::<bool>(),
    ) {
        let dtype = DTYPES[form];
        let k = if dtype.block_len() == 1 { blocks * 37 } else { blocks * dtype.block_len() };
        let ends = if lora { vec![t] } else { Vec::new() };
        run(Linear { dtype, t, n, k, first: 0, ends, r, bias });
    }
}

#[test]
fn threads_change_no_bit() {
    check_threads(&Linear { r: 8, ends: vec![300], ..plain(WeightDtype::Q4_1, 300, 200, 192) });
    check_threads(&Linear { r: 8, ends: vec![2, 3], ..plain(WeightDtype::Q8_0, 3, 700, 192) });
}

/// With inputs that bf16 holds exactly, the bf16 mode is as exact as f32: at most `K * 2^-23` of the sum of
/// magnitudes, in every instruction set.
#[test]
fn bf16_inputs_lose_nothing() {
    struct Exact;
    impl Case for Exact {
        fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
            let (t, n, k) = (20, 40, 300);
            let w = b.weight(weight(WeightDtype::Bf16, n, k, 1));
            let round = |x: Vec<f32>| -> Vec<f32> { x.into_iter().map(crate::simd::round_bf16).collect() };
            let x = b.upload(&round(random(2, t * k)));
            let dout = b.upload(&round(random(3, t * n)));
            let (mut out, mut dx) = (b.upload(&nan(t * n)), b.zeros(t * k));
            b.linear(&x, t, &w, None, &[], None, &mut out);
            b.linear_backward_input(&dout, t, &w, None, &mut dx);
            let mut few = b.upload(&nan(3 * n));
            b.linear(&x, 3, &w, None, &[], None, &mut few);
            vec![b.download(&out), b.download(&dx), b.download(&few)]
        }
    }
    // The sum of magnitudes of 300 products of uniform numbers is about 75.
    check(&Exact, |_| (75.0 * 300.0 * 2f64.powi(-23), 0.0));
}

#[test]
fn gradients_by_differences() {
    let b = Reference::<f64>::new();
    let (t, n, k, r, scale) = (4, 5, 32, 3, 0.5);
    let w = weight(WeightDtype::Q4_1, n, k, 1);
    let wide = |seed, n| -> Vec<f64> { random(seed, n).into_iter().map(f64::from).collect() };
    let (x, a, low_b, probe) = (wide(2, t * k), wide(3, r * k), wide(4, n * r), wide(5, t * n));
    let span_rows = 1..3;
    let loss = |x: &[f64], a: &[f64], low_b: &[f64]| -> f64 {
        let (a, low_b) = (a.to_vec(), low_b.to_vec());
        let span = LoraSpan { rows: span_rows.clone(), a: &a, b: &low_b, r, scale };
        let mut out = vec![f64::NAN; t * n];
        b.linear(&x.to_vec(), t, &w, None, &[span], None, &mut out);
        out.iter().zip(&probe).map(|(o, p)| o * p).sum()
    };
    let span = LoraSpan { rows: span_rows.clone(), a: &a, b: &low_b, r, scale };
    let mut xa = [vec![f64::NAN; span_rows.len() * r]];
    let mut out = vec![f64::NAN; t * n];
    b.linear(&x, t, &w, None, std::slice::from_ref(&span), Some(&mut xa), &mut out);
    let (mut dx, mut da, mut db) = (vec![0.0; t * k], vec![0.0; r * k], vec![0.0; n * r]);
    b.linear_backward_input(&probe, t, &w, Some(&span), &mut dx);
    b.linear_backward_lora(&probe, t, &x, &xa[0], &span, &mut da, &mut db);
    check_gradient("dx", |x| loss(x, &a, &low_b), &x, &dx);
    check_gradient("da", |a| loss(&x, a, &low_b), &a, &da);
    check_gradient("db", |low_b| loss(&x, &a, low_b), &low_b, &db);
}
