//! The gated MLP against the reference, at extremes, and against differences.

use crate::backend::{Activation, Backend};
use crate::options::Precision;
use crate::reference::Reference;
use crate::testing::{Case, check, check_gradient, check_threads, nan, random};

const BOTH: [Activation; 2] = [Activation::Silu, Activation::GeluTanh];

struct Gate {
    activation: Activation,
    n: usize,
    /// Magnitude of the gate.
    size: f32,
    operands: bool,
}

impl Case for Gate {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        let &Self { activation, n, size, operands } = self;
        let buffer = |x: &[f32]| {
            let mut buf = if operands { b.operands(n) } else { b.zeros(n) };
            b.write(&mut buf, x);
            buf
        };
        // Numbers that bf16 holds, so that all backends get the same.
        let input = |seed, size: f32| {
            buffer(
                &random(seed, n).into_iter().map(|x| crate::simd::round_bf16(x * size)).collect::<Vec<_>>(),
            )
        };
        let (mut gate, mut up, mut dout) = (input(1, size), input(2, 1.0), input(3, 1.0));
        let mut out = buffer(&nan(n));
        b.glu(activation, &gate, &up, n, &mut out);
        b.glu_backward(activation, &mut dout, &mut gate, &mut up, n);
        let out = b.download(&out);
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&b.download(&dout)), bits(&out), "the backward has the forward's output");
        vec![out, b.download(&gate), b.download(&up)]
    }
}

/// The exponential is within 3e-7, and some five roundings of 6e-8 follow; the slopes are sums that may cancel,
/// which leaves an error of the size of their parts (with GELU up to the cube of the gate where it is not flat).
/// Operands are rounded to bf16 besides.
#[test]
fn any_size() {
    for activation in BOTH {
        for operands in [false, true] {
            let rounding = |precision| match precision {
                Precision::Bf16 | Precision::Int8 if operands => 2f64.powi(-8),
                _ => 0.0,
            };
            for n in [0, 1, 7, 8, 9, 15, 16, 17, 33, 1000] {
                let case = Gate { activation, n, size: 4.0, operands };
                check(&case, |precision| (5e-6, 2e-6 + rounding(precision)));
            }
            for size in [200.0, 1e15] {
                let case = Gate { activation, n: 1000, size, operands };
                check(&case, |precision| (2e-5, 2e-6 + rounding(precision)));
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for activation in BOTH {
        check_threads(&Gate { activation, n: 100_000, size: 5.0, operands: true });
    }
}

#[test]
fn gradients_by_differences() {
    let (b, n) = (Reference::<f64>::new(), 9);
    let wide = |seed| -> Vec<f64> { random(seed, n).into_iter().map(|x| f64::from(x) * 3.0).collect() };
    let (gate, up, probe) = (wide(1), wide(2), wide(3));
    for activation in BOTH {
        let loss = |gate: &[f64], up: &[f64]| -> f64 {
            let mut out = vec![f64::NAN; n];
            b.glu(activation, &gate.to_vec(), &up.to_vec(), n, &mut out);
            out.iter().zip(&probe).map(|(o, p)| o * p).sum()
        };
        let (mut dout, mut dgate, mut dup) = (probe.clone(), gate.clone(), up.clone());
        b.glu_backward(activation, &mut dout, &mut dgate, &mut dup, n);
        check_gradient("dgate", |gate| loss(gate, &up), &gate, &dgate);
        check_gradient("dup", |up| loss(&gate, up), &up, &dup);
    }
}
