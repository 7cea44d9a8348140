//! Cross-entropy against the reference, across chunks, at extremes, and against differences.

use crate::backend::{Backend, LossSums};
use crate::options::{Isa, Precision};
use crate::reference::Reference;
use crate::testing::{Case, check, check_gradient, check_threads, cpu, nan, random, weight};
use crate::weight::{WeightBytes, WeightDtype};

struct Loss {
    n: usize,
    vocab: usize,
    c: usize,
    softcap: Option<f32>,
}

impl Loss {
    fn targets(&self) -> Vec<u32> {
        // Rows of weight 0 may have any target.
        (0..self.n).map(|i| if i % 3 == 1 { u32::MAX } else { (i * 7 % self.vocab) as u32 }).collect()
    }

    fn weights(&self) -> Vec<f32> {
        (0..self.n).map(|i| [1.0, 0.0, 0.25][i % 3]).collect()
    }
}

impl Case for Loss {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        let Self { n, vocab, c, softcap } = *self;
        let head = b.weight(weight(WeightDtype::Bf16, vocab, c, 1));
        let hidden = b.upload(&random(2, n * c));
        let mut dhidden = b.upload(&nan(n * c));
        let (targets, weights) = (self.targets(), self.weights());
        let with = b.cross_entropy(&hidden, &head, &targets, &weights, 0.5, softcap, Some(&mut dhidden));
        let without = b.cross_entropy(&hidden, &head, &targets, &weights, 0.5, softcap, None);
        assert_eq!(with, without, "the gradient changes no sum");
        let per_row = 1.0 / n.max(1) as f64;
        vec![vec![(with.loss * per_row) as f32, with.weight as f32], b.download(&dhidden)]
    }
}

/// Logits are sums of C products (see `linear`); the loss shifts by as much. The gradient is an average of
/// rows of the head below 1, with probabilities whose relative error is that of the logits.
fn run(case: Loss) {
    let c = case.c as f64;
    check(&case, |precision| match precision {
        Precision::F32 => (1e-6 + 4.0 * c * 2f64.powi(-24), 2e-6),
        Precision::Bf16 | Precision::Int8 => (c.sqrt() * 2f64.powi(-7), 2f64.powi(-7)),
    });
}

#[test]
fn any_shape() {
    for (n, vocab, c) in [
        (0, 10, 4),
        (1, 1, 1),
        (2, 15, 16),
        (5, 17, 15),
        (9, 64, 33),
        (13, 65, 8),
        (40, 1000, 24),
        (7, 5000, 6),
    ] {
        run(Loss { n, vocab, c, softcap: None });
        run(Loss { n, vocab, c, softcap: Some(1.5) });
    }
}

/// More rows than one chunk holds.
#[test]
fn several_chunks() {
    run(Loss { n: 1000, vocab: 50, c: 8, softcap: None });
}

#[test]
fn threads_change_no_bit() {
    check_threads(&Loss { n: 500, vocab: 300, c: 40, softcap: Some(20.0) });
}

/// A NaN in the hidden state is seen in the loss; logits of 1e5, and a target far below the largest, are not.
#[test]
fn extremes() {
    let head = weight(WeightDtype::F32, 50, 2, 1);
    for isa in Isa::available() {
        let b = cpu(isa, Precision::F32, 2);
        let run = |x: f32| b.cross_entropy(&b.upload(&[x, x]), &head, &[3], &[1.0], 1.0, None, None);
        assert!(run(f32::NAN).loss.is_nan(), "{isa}");
        let LossSums { loss, weight } = run(1e5);
        assert!(loss.is_finite() && loss >= 0.0 && weight == 1.0, "{isa}: {loss}");
    }
    check(&Far, |_| (1e-3, 2f64.powi(-7)));
}

/// Targets whose logits lie up to 400 below the largest: exponentials relative to theirs overflow.
struct Far;

impl Case for Far {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        // Exact in bf16: powers of two times the head's numbers, one per row of it.
        let (n, vocab) = (4, 64);
        let head: Vec<f32> = (0..vocab).map(|i| i as f32 - 32.0).collect();
        let head = head.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let bytes = 0..head.len();
        let head = b.weight(WeightBytes::new(WeightDtype::F32, vocab, 1, std::sync::Arc::new(head), bytes));
        let hidden = b.upload(&[8.0, 0.5, -8.0, 4.0]);
        let mut dhidden = b.upload(&nan(n));
        let sums = b.cross_entropy(&hidden, &head, &[0, 5, 60, 63], &[1.0; 4], 1.0, None, Some(&mut dhidden));
        vec![vec![sums.loss as f32, sums.weight as f32], b.download(&dhidden)]
    }
}

#[test]
fn gradient_by_differences() {
    let (b, n, vocab, c) = (Reference::<f64>::new(), 3, 11, 5);
    let head = weight(WeightDtype::F32, vocab, c, 1);
    let hidden: Vec<f64> = random(2, n * c).into_iter().map(f64::from).collect();
    let (targets, weights) = ([3, 900, 10], [1.0, 0.0, 0.5]);
    for softcap in [None, Some(0.8)] {
        let loss = |x: &[f64]| {
            b.cross_entropy(&x.to_vec(), &head, &targets, &weights, 0.5, softcap, None).loss * 0.5
        };
        let mut dhidden = vec![f64::NAN; n * c];
        b.cross_entropy(&hidden, &head, &targets, &weights, 0.5, softcap, Some(&mut dhidden));
        check_gradient("dhidden", loss, &hidden, &dhidden);
    }
}
