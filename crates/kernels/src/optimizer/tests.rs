//! The optimiser against the reference and against numbers worked out by hand.

use crate::backend::{AdamW, Backend};
use crate::reference::Reference;
use crate::testing::{Case, check, check_threads, random};

const SETTINGS: AdamW =
    AdamW { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 1 };

struct Steps {
    n: usize,
}

impl Case for Steps {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        let n = self.n;
        let mut param = b.upload(&random(1, n));
        let (mut m, mut v) = (b.zeros(n), b.zeros(n));
        let mut sums = Vec::new();
        for step in 1..=4 {
            let grad = b.upload(&random(1 + step, n));
            sums.push((b.sum_squares(&grad) / n.max(1) as f64) as f32);
            b.adamw(&mut param, &grad, &mut m, &mut v, &AdamW { step, ..SETTINGS });
        }
        vec![b.download(&param), b.download(&m), b.download(&v), sums]
    }
}

/// Four steps of at most 0.01 each, each within ten roundings of it; 1 - beta2 = 0.001 is exact to 6e-8 / 0.001.
#[test]
fn any_size() {
    for n in [0, 1, 7, 8, 9, 15, 16, 17, 4095, 4097, 70_000] {
        check(&Steps { n }, |_| (1e-6, 1e-4));
    }
}

#[test]
fn threads_change_no_bit() {
    check_threads(&Steps { n: 300_001 });
}

/// First step: both corrected moments are those of the gradient alone, so the parameter moves by the learning
/// rate against the sign of the gradient, after the decay.
#[test]
fn first_step_by_hand() {
    let b = Reference::<f64>::new();
    let (mut p, mut m, mut v) = (vec![2.0, 2.0], vec![0.0; 2], vec![0.0; 2]);
    b.adamw(&mut p, &vec![0.5, -3.0], &mut m, &mut v, &SETTINGS);
    let decayed = 2.0 * (1.0 - 0.01 * 0.1);
    for (got, want) in p.iter().zip([decayed - 0.01, decayed + 0.01]) {
        assert!((got - want).abs() < 1e-7, "{got} instead of {want}");
    }
    assert!(b.sum_squares(&vec![3.0, -4.0]) == 25.0);
}
