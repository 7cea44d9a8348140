//! Linear layers against the reference, for every stored form and both directions.

use proptest::prelude::*;

use crate::backend::{Backend, Linear, LoraSpan};
use crate::options::Precision;
use crate::reference::Reference;
use crate::testing::{Case, DTYPES, check, check_gradient, check_in, check_threads, nan, random, weight};
use crate::weight::WeightDtype;

/// One or several linears of `n`, `n + 5`, .. outputs that share their input.
#[derive(Debug)]
struct Linears {
    dtype: WeightDtype,
    t: usize,
    n: usize,
    k: usize,
    count: usize,
    /// End of each span; they begin where the one before ended, the first at `first`.
    first: usize,
    ends: Vec<usize>,
    r: usize,
    bias: bool,
}

impl Linears {
    /// Whether an adapter, if there is one, covers all rows.
    fn whole(&self) -> bool {
        self.first == 0 && self.ends.iter().all(|&end| end == self.t) && self.ends.len() <= 1
    }
}

impl Case for Linears {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        let Self { t, k, r, .. } = *self;
        let widths: Vec<usize> = (0..self.count).map(|i| self.n + 5 * i).collect();
        let weights: Vec<_> =
            widths.iter().zip(1u64..).map(|(&n, i)| b.weight(weight(self.dtype, n, k, i))).collect();
        assert_eq!(b.weight_shape(&weights[0]), (self.n, k));
        let x = b.upload(&random(2, t * k));
        let biases: Vec<_> = widths.iter().map(|&n| self.bias.then(|| b.upload(&random(4, n)))).collect();
        // Factors of each span of each linear, the ranks of linears differing.
        let low: Vec<Vec<_>> = widths
            .iter()
            .enumerate()
            .map(|(i, &n)| {
                let factors =
                    |j| (b.upload(&random(10 + j, (r + i) * k)), b.upload(&random(20 + j, n * (r + i))));
                (0..self.ends.len() as u64).map(factors).collect()
            })
            .collect();
        let linears: Vec<Linear<'_, B::Buf, B::Weight>> = (0..self.count)
            .map(|i| {
                let mut start = self.first;
                let mut spans = Vec::new();
                for (&end, (a, bb)) in self.ends.iter().zip(&low[i]) {
                    spans.push(LoraSpan { rows: start..end, a, b: bb, r: r + i, scale: 0.5 });
                    start = end;
                }
                Linear { weight: &weights[i], bias: biases[i].as_ref(), spans }
            })
            .collect();
        let rank: usize = linears.iter().flat_map(|l| &l.spans).map(|s| s.r).sum();
        let mut all = Vec::new();
        let mut outputs = |xa: Option<&mut B::Buf>, add: bool, operands: bool| {
            let mut outs: Vec<_> = widths
                .iter()
                .map(|&n| match (add, operands) {
                    (true, _) => b.upload(&random(8, t * n)),
                    (false, true) => b.operands(t * n),
                    (false, false) => b.upload(&nan(t * n)),
                })
                .collect();
            b.linear(&x, t, &linears, xa, add, &mut outs.iter_mut().collect::<Vec<_>>());
            all.extend(outs.iter().map(|out| b.download(out)));
        };
        outputs(None, false, false);
        outputs(None, true, false);
        outputs(None, false, true);
        if !self.whole() {
            return all;
        }
        let mut xa = b.operands(t * rank);
        outputs(Some(&mut xa), false, false);
        all.push(b.download(&xa));
        let douts: Vec<_> = widths.iter().map(|&n| b.upload(&random(3, t * n))).collect();
        let douts: Vec<_> = douts.iter().collect();
        let (mut dx, mut dx_operands) = (b.upload(&nan(t * k)), b.operands(t * k));
        let mut grads: Vec<_> = widths
            .iter()
            .enumerate()
            .map(|(i, &n)| (b.upload(&random(6, (r + i) * k)), b.upload(&random(7, n * (r + i)))))
            .collect();
        let mut pairs: Vec<_> =
            grads.iter_mut().map(|(da, db)| (!self.ends.is_empty()).then_some((da, db))).collect();
        b.linear_backward(&douts, t, &linears, &x, Some(&xa), &mut pairs, Some(&mut dx));
        let mut none: Vec<_> = widths.iter().map(|_| None).collect();
        b.linear_backward(&douts, t, &linears, &x, None, &mut none, Some(&mut dx_operands));
        all.extend([b.download(&dx), b.download(&dx_operands)]);
        all.extend(grads.iter().flat_map(|(da, db)| [b.download(da), b.download(db)]));
        all
    }
}

/// Inputs are of magnitude 1 with random signs, so partial sums of L products grow as sqrt(L), and so do
/// independent roundings of them: about `L * 2^-24` in f32 (four times that is allowed) and
/// `sqrt(L) * 2^-7` for two bf16 roundings of each product. The low-rank path multiplies two such sums.
/// Rounding to integers of at most 127 is off by up to `2^-8`, so a product by up to `2^-7` and a sum by
/// `sqrt(L)` times a quarter of that; the folded scales of rows differ by up to four times.
fn tolerance(case: &Linears, precision: Precision) -> (f64, f64) {
    let longest = case.k.max(case.n).max(case.t).max(1) as f64;
    let low = if case.ends.is_empty() { 1.0 } else { 1.0 + (case.r as f64).sqrt() * longest.sqrt() };
    match precision {
        Precision::F32 => (1e-6 + 4.0 * longest * 2f64.powi(-24) * low, 1e-6),
        Precision::Bf16 => ((longest.sqrt() + low) * 2f64.powi(-7) + low * 2f64.powi(-6), 2f64.powi(-6)),
        Precision::Int8 => ((longest.sqrt() + low) * 2f64.powi(-5) + low * 2f64.powi(-6), 2f64.powi(-6)),
    }
}

fn run(case: Linears) {
    let precisions = [Precision::F32, Precision::Bf16, Precision::Int8];
    check_in(&precisions, &case, |precision| tolerance(&case, precision));
}

fn plain(dtype: WeightDtype, t: usize, n: usize, k: usize) -> Linears {
    Linears { dtype, t, n, k, count: 1, first: 0, ends: Vec::new(), r: 0, bias: false }
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
        (30, 40, 4100),
    ] {
        run(plain(WeightDtype::F32, t, n, k));
        run(Linears { bias: true, ..plain(WeightDtype::Bf16, t, n, k) });
    }
}

#[test]
fn one_span_over_all_rows() {
    for (t, r) in [(1, 8), (8, 1), (9, 3), (70, 8), (70, 64), (20, 300)] {
        for (n, k) in [(64, 96), (33, 41)] {
            run(Linears { r, ends: vec![t], bias: t == 9, ..plain(WeightDtype::F32, t, n, k) });
            run(Linears { r, ends: vec![t], count: 3, ..plain(WeightDtype::Bf16, t, n, k) });
        }
    }
}

#[test]
fn several_spans_and_rows_without_one() {
    for (t, first, ends) in
        [(7, 1, vec![3, 6]), (40, 0, vec![10, 13, 40]), (40, 5, vec![25]), (30, 0, vec![0, 12, 12, 29])]
    {
        run(Linears { r: 5, first, ends, count: 2, bias: true, ..plain(WeightDtype::F32, t, 50, 45) });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_shape(
        t in 0usize..60, n in 1usize..140, blocks in 1usize..4, form in 0usize..DTYPES.len(), r in 1usize..20,
        lora in any::<bool>(), bias in any::<bool>(), count in 1usize..4,
    ) {
        let dtype = DTYPES[form];
        let k = if dtype.block_len() == 1 { blocks * 37 } else { blocks * dtype.block_len() };
        let ends = if lora { vec![t] } else { Vec::new() };
        run(Linears { dtype, t, n, k, count, first: 0, ends, r, bias });
    }
}

#[test]
fn threads_change_no_bit() {
    check_threads(&Linears { r: 8, ends: vec![300], ..plain(WeightDtype::Q4_1, 300, 200, 192) });
    check_threads(&Linears { r: 8, ends: vec![2, 3], ..plain(WeightDtype::Q8_0, 3, 700, 192) });
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
            let (mut out, mut dx) = (b.upload(&nan(t * n)), b.upload(&nan(t * k)));
            let linears = [Linear { weight: &w, bias: None, spans: Vec::new() }];
            b.linear(&x, t, &linears, None, false, &mut [&mut out]);
            b.linear_backward(&[&dout], t, &linears, &x, None, &mut [None], Some(&mut dx));
            let mut few = b.upload(&nan(3 * n));
            b.linear(&x, 3, &linears, None, false, &mut [&mut few]);
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
    let loss = |x: &[f64], a: &[f64], low_b: &[f64]| -> f64 {
        let (a, low_b) = (a.to_vec(), low_b.to_vec());
        let spans = vec![LoraSpan { rows: 0..t, a: &a, b: &low_b, r, scale }];
        let mut out = vec![f64::NAN; t * n];
        b.linear(&x.to_vec(), t, &[Linear { weight: &w, bias: None, spans }], None, false, &mut [&mut out]);
        out.iter().zip(&probe).map(|(o, p)| o * p).sum()
    };
    let spans = vec![LoraSpan { rows: 0..t, a: &a, b: &low_b, r, scale }];
    let linears = [Linear { weight: &w, bias: None, spans }];
    let (mut xa, mut out) = (vec![f64::NAN; t * r], vec![f64::NAN; t * n]);
    b.linear(&x, t, &linears, Some(&mut xa), false, &mut [&mut out]);
    let (mut dx, mut da, mut db) = (vec![f64::NAN; t * k], vec![0.0; r * k], vec![0.0; n * r]);
    let grads = &mut [Some((&mut da, &mut db))];
    b.linear_backward(&[&probe], t, &linears, &x, Some(&xa), grads, Some(&mut dx));
    check_gradient("dx", |x| loss(x, &a, &low_b), &x, &dx);
    check_gradient("da", |a| loss(&x, a, &low_b), &a, &da);
    check_gradient("db", |low_b| loss(&x, &a, low_b), &low_b, &db);
}
