//! Attention against the reference, packed against alone, cached against packed, and against differences.

use proptest::prelude::*;

use crate::backend::{AttentionShape, Backend, CachedSpan, Segment};
use crate::options::{Isa, Precision};
use crate::reference::Reference;
use crate::testing::{Case, check, check_gradient, check_threads, cpu, nan, random};

fn shape(n_kv_heads: usize, group: usize, head_dim: usize) -> AttentionShape {
    let scale = 1.0 / (head_dim as f32).sqrt();
    AttentionShape { n_heads: n_kv_heads * group, n_kv_heads, head_dim, scale, window: None, softcap: None }
}

fn segments(lengths: &[usize]) -> Vec<Segment> {
    let mut end = 0;
    lengths
        .iter()
        .map(|len| {
            end += len;
            Segment::from(end - len..end)
        })
        .collect()
}

struct Packed {
    lengths: Vec<usize>,
    /// So many of the segments after the first begin with it.
    shared: usize,
    shape: AttentionShape,
}

impl Case for Packed {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        let shape = self.shape;
        let mut segments = segments(&self.lengths);
        if let Some((first, others)) = segments.split_first_mut() {
            others.iter_mut().take(self.shared).for_each(|segment| segment.shared = first.own.clone());
        }
        let t: usize = self.lengths.iter().sum();
        let (cq, ckv) = (shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim);
        let q = b.upload(&random(1, t * cq));
        let (k, v) = (b.upload(&random(2, t * ckv)), b.upload(&random(3, t * ckv)));
        let (mut out, mut lse) = (b.upload(&nan(t * cq)), b.upload(&nan(t * shape.n_heads)));
        b.attention(&q, &k, &v, &segments, shape, &mut out, &mut lse);
        let dout = b.upload(&random(4, t * cq));
        let (mut dq, mut dk, mut dv) =
            (b.upload(&nan(t * cq)), b.upload(&nan(t * ckv)), b.upload(&nan(t * ckv)));
        b.attention_backward(&dout, &q, &k, &v, &out, &lse, &segments, shape, &mut dq, &mut dk, &mut dv);
        [out, lse, dq, dk, dv].iter().map(|x| b.download(x)).collect()
    }
}

/// A score is a sum of D products of inputs below 1, times D^-0.5: in bf16 its error is about
/// `sqrt(D) * 2^-8 * D^-0.5 * 2 = 2^-7`, and a probability's relative error the same. An output is an average
/// of values below 1; a gradient a sum of up to T products of three such factors, whose errors add like a
/// random walk over the group's heads.
fn tolerance(case: &Packed, precision: Precision) -> (f64, f64) {
    let longest = *case.lengths.iter().max().unwrap_or(&1) as f64;
    let group = (case.shape.n_heads / case.shape.n_kv_heads) as f64;
    let sums = (longest.sqrt() + (case.shape.head_dim as f64).sqrt()) * group.sqrt();
    match precision {
        Precision::F32 => (1e-6 * sums + 2e-6, 4e-6),
        Precision::Bf16 | Precision::Int8 => (2f64.powi(-7) * sums.min(16.0) + 2f64.powi(-6), 2f64.powi(-6)),
    }
}

fn run(case: Packed) {
    check(&case, |precision| tolerance(&case, precision));
}

#[test]
fn borders_of_tiles() {
    for lengths in [
        vec![],
        vec![1],
        vec![2, 1, 3],
        vec![63],
        vec![64],
        vec![65],
        vec![1, 127, 5],
        vec![128, 64],
        vec![129, 200],
    ] {
        run(Packed { lengths, shared: 0, shape: shape(2, 3, 16) });
    }
}

#[test]
fn widths_of_heads() {
    for (kv, group, d) in
        [(1, 1, 2), (1, 4, 7), (3, 3, 64), (2, 1, 80), (1, 2, 130), (1, 5, 256), (1, 40, 16)]
    {
        run(Packed { lengths: vec![70, 9], shared: 0, shape: shape(kv, group, d) });
    }
}

#[test]
fn windows() {
    // Inside a panel of lanes, across panels, across tiles of keys, as long as the row, longer.
    for window in [1, 2, 31, 33, 96, 97, 128, 200, 300, 301, 1000] {
        let shape = AttentionShape { window: Some(window), ..shape(2, 3, 32) };
        run(Packed { lengths: vec![300, 1, 40], shared: 0, shape });
    }
}

#[test]
fn soft_caps() {
    // Scores lie between -2 and 2: caps below, among and above them.
    for cap in [0.1, 0.7, 50.0] {
        run(Packed {
            lengths: vec![150, 30],
            shared: 0,
            shape: AttentionShape { softcap: Some(cap), ..shape(2, 2, 64) },
        });
    }
}

#[test]
fn hyperbolic_tangent() {
    for x in random(5, 20_000).into_iter().map(|x| 12.0 * x).chain([0.0, 1e-20, 0.6, -0.6, 100.0, -100.0]) {
        let (got, want) = (f64::from(super::softmax::tanh::<false>(x)), f64::from(x).tanh());
        assert!((got - want).abs() <= 1e-6 * want.abs(), "tanh({x}) = {got} instead of {want}");
    }
    assert!(super::softmax::tanh::<false>(f32::NAN).is_nan());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_packing(
        lengths in prop::collection::vec(1usize..180, 1..5), kv in 1usize..4, group in 1usize..4, d in 1usize..72,
        window in prop::option::of(1usize..200), softcap in prop::option::of(0.3f32..3.0), shared in 0usize..4,
    ) {
        let shape = AttentionShape { window, softcap, ..shape(kv, group, 2 * d) };
        run(Packed { lengths, shared, shape });
    }
}

#[test]
fn threads_change_no_bit() {
    check_threads(&Packed { lengths: vec![150, 3, 70, 64], shared: 2, shape: shape(3, 3, 32) });
    // One long row, which is cut into runs.
    check_threads(&Packed { lengths: vec![1000], shared: 0, shape: shape(1, 2, 8) });
}

/// Beginnings longer than a tile of keys, and than what a task prepares for itself.
#[test]
fn shared_rows() {
    for first in [1, 40, 97, 600] {
        run(Packed { lengths: vec![first, 130, 5, 33], shared: 2, shape: shape(2, 3, 32) });
    }
}

/// One head whose score at key i is `i / 2 * step`, exact in bf16.
struct Rising {
    keys: usize,
    step: f32,
}

impl Case for Rising {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        let n = self.keys;
        let shape = AttentionShape { scale: 2.0 * self.step, ..shape(1, 1, 4) };
        let k: Vec<f32> = (0..n).flat_map(|i| [(i / 2) as f32 / 8.0; 4]).collect();
        let (q, k, v) = (b.upload(&vec![1.0; n * 4]), b.upload(&k), b.upload(&random(1, n * 4)));
        let (mut out, mut lse) = (b.upload(&nan(n * 4)), b.upload(&nan(n)));
        b.attention(&q, &k, &v, &[Segment::from(0..n)], shape, &mut out, &mut lse);
        vec![b.download(&out), b.download(&lse)]
    }
}

/// The maximum is taken out before the exponential, also where it grows from key to key: by less than what asks
/// for a new one, by less than what a sum holds without one, and by more.
#[test]
fn large_scores_do_not_overflow() {
    for (keys, step) in [(100, 60.0), (300, 1.0 / 64.0), (300, 0.125), (300, 0.3125), (300, 1.0)] {
        check(&Rising { keys, step }, |p| (if p == Precision::F32 { 1e-6 } else { 2f64.powi(-8) }, 1e-6));
    }
}

/// A key that is not a number shows in every query that sees it, and in no other.
#[test]
fn nan_reaches_who_sees_it() {
    const N: usize = 230;
    let places = [0, 1, 40, 150, 229];
    for (at, isa) in places.into_iter().flat_map(|at| Isa::available().into_iter().map(move |isa| (at, isa)))
    {
        for precision in [Precision::F32, Precision::Bf16] {
            let b = cpu(isa, precision, 1);
            let shape = shape(1, 2, 64);
            let mut k = random(1, N * 64);
            k[at * 64 + 5] = f32::NAN;
            let (q, k, v) = (b.upload(&random(2, N * 128)), b.upload(&k), b.upload(&random(3, N * 64)));
            let (mut out, mut lse) = (b.upload(&nan(N * 128)), b.upload(&nan(N * 2)));
            b.attention(&q, &k, &v, &[Segment::from(0..N)], shape, &mut out, &mut lse);
            for (x, width) in [(b.download(&out), 128), (b.download(&lse), 2)] {
                for (i, x) in x.iter().enumerate() {
                    assert_eq!(
                        x.is_nan(),
                        i / width >= at,
                        "{}: query {}, key {at}: {x}",
                        b.name(),
                        i / width
                    );
                }
            }
        }
    }
}

/// Decoding in steps over caches gives what the packed op gives at once, and both agree with the reference.
#[test]
fn caches() {
    struct Cached {
        /// Rows of each call, per sequence.
        steps: Vec<[usize; 2]>,
        shape: AttentionShape,
    }
    impl Case for Cached {
        fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
            let shape = self.shape;
            let (cq, ckv) = (shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim);
            let total = |s: usize| self.steps.iter().map(|step| step[s]).sum::<usize>();
            let mut caches: Vec<_> = (0..2u64)
                .map(|s| {
                    // Rows that are not yet written must not matter.
                    let n = (total(s as usize) + 3) * ckv;
                    (b.upload(&nan(n)), b.upload(&nan(n)))
                })
                .collect();
            let mut past = [0, 0];
            let mut all = Vec::new();
            for (i, step) in self.steps.iter().enumerate() {
                let mut spans = Vec::new();
                let mut start = 0;
                for (s, (k, v)) in caches.iter_mut().enumerate() {
                    let seed = (10 * i + s) as u64;
                    let new_k = b.upload(&random(100 + seed, step[s] * ckv));
                    let new_v = b.upload(&random(200 + seed, step[s] * ckv));
                    b.copy_rows(&new_k, 0, step[s], ckv, k, past[s]);
                    b.copy_rows(&new_v, 0, step[s], ckv, v, past[s]);
                    spans.push(CachedSpan { start, n_new: step[s], past: past[s] });
                    start += step[s];
                    past[s] += step[s];
                }
                let q = b.upload(&random(300 + i as u64, start * cq));
                let mut out = b.upload(&nan(start * cq));
                let (k, v): (Vec<_>, Vec<_>) = caches.iter().map(|(k, v)| (k, v)).unzip();
                b.attention_cached(&q, &k, &v, &spans, shape, &mut out);
                all.push(b.download(&out));
            }
            all
        }
    }
    let steps = vec![[70, 1], [1, 1], [1, 130], [3, 4], [5, 0], [1, 1]];
    let capped = AttentionShape { window: Some(50), softcap: Some(0.5), ..shape(2, 2, 24) };
    for shape in [shape(2, 3, 16), shape(1, 1, 64), capped] {
        let case = Cached { steps: steps.clone(), shape };
        check(&case, |p| (if p == Precision::F32 { 5e-6 } else { 2f64.powi(-6) }, 1e-6));
        check_threads(&case);
    }
}

#[test]
fn gradients_by_differences() {
    gradients_of(shape(2, 2, 4));
    gradients_of(AttentionShape { window: Some(2), softcap: Some(0.5), ..shape(2, 2, 4) });
}

fn gradients_of(shape: AttentionShape) {
    let b = Reference::<f64>::new();
    let segments = segments(&[3, 4]);
    let (t, cq, ckv) = (7, 16, 8);
    let wide = |seed, n| -> Vec<f64> { random(seed, n).into_iter().map(f64::from).collect() };
    let (q, k, v, probe) = (wide(1, t * cq), wide(2, t * ckv), wide(3, t * ckv), wide(4, t * cq));
    let forward = |q: &[f64], k: &[f64], v: &[f64]| {
        let (mut out, mut lse) = (vec![f64::NAN; t * cq], vec![f64::NAN; t * 4]);
        b.attention(&q.to_vec(), &k.to_vec(), &v.to_vec(), &segments, shape, &mut out, &mut lse);
        (out, lse)
    };
    let loss = |q: &[f64], k: &[f64], v: &[f64]| -> f64 {
        forward(q, k, v).0.iter().zip(&probe).map(|(o, p)| o * p).sum()
    };
    let (out, lse) = forward(&q, &k, &v);
    let (mut dq, mut dk, mut dv) = (vec![f64::NAN; t * cq], vec![f64::NAN; t * ckv], vec![f64::NAN; t * ckv]);
    b.attention_backward(&probe, &q, &k, &v, &out, &lse, &segments, shape, &mut dq, &mut dk, &mut dv);
    check_gradient("dq", |q| loss(q, &k, &v), &q, &dq);
    check_gradient("dk", |k| loss(&q, k, &v), &k, &dk);
    check_gradient("dv", |v| loss(&q, &k, v), &v, &dv);
}
