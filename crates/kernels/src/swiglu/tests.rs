//! SwiGLU against the reference, at extremes, and against differences.

use crate::backend::Backend;
use crate::reference::Reference;
use crate::testing::{Case, check, check_gradient, check_threads, nan, random};

struct Gate {
    n: usize,
    /// Magnitude of the gate.
    size: f32,
}

impl Case for Gate {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        let n = self.n;
        let gate = b.upload(&random(1, n).into_iter().map(|x| x * self.size).collect::<Vec<_>>());
        let (up, dout) = (b.upload(&random(2, n)), b.upload(&random(3, n)));
        let (mut out, mut dgate, mut dup) = (b.upload(&nan(n)), b.upload(&nan(n)), b.upload(&nan(n)));
        b.swiglu(&gate, &up, n, &mut out);
        b.swiglu_backward(&dout, &gate, &up, n, &mut dgate, &mut dup);
        vec![b.download(&out), b.download(&dgate), b.download(&dup)]
    }
}

/// The exponential is within 3e-7, and some five roundings of 6e-8 follow; `1 + gate * (1 - s)` may cancel,
/// which leaves an error of the size of the gate.
#[test]
fn any_size() {
    for n in [0, 1, 7, 8, 9, 15, 16, 17, 33, 1000] {
        check(&Gate { n, size: 4.0 }, |_| (2e-6, 1e-6));
    }
    check(&Gate { n: 1000, size: 200.0 }, |_| (2e-5, 1e-6));
}

#[test]
fn threads_change_no_bit() {
    check_threads(&Gate { n: 100_000, size: 5.0 });
}

#[test]
fn gradients_by_differences() {
    let (b, n) = (Reference::<f64>::new(), 9);
    let wide = |seed| -> Vec<f64> { random(seed, n).into_iter().map(|x| f64::from(x) * 3.0).collect() };
    let (gate, up, probe) = (wide(1), wide(2), wide(3));
    let loss = |gate: &[f64], up: &[f64]| -> f64 {
        let mut out = vec![f64::NAN; n];
        b.swiglu(&gate.to_vec(), &up.to_vec(), n, &mut out);
        out.iter().zip(&probe).map(|(o, p)| o * p).sum()
    };
    let (mut dgate, mut dup) = (vec![f64::NAN; n], vec![f64::NAN; n]);
    b.swiglu_backward(&probe, &gate, &up, n, &mut dgate, &mut dup);
    check_gradient("dgate", |gate| loss(gate, &up), &gate, &dgate);
    check_gradient("dup", |up| loss(&gate, up), &up, &dup);
}
