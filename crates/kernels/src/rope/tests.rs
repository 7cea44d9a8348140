//! Rotation against the reference, back and forth, and against differences.

use crate::backend::Backend;
use crate::options::Precision;
use crate::reference::Reference;
use crate::testing::{Case, check, check_gradient, check_threads, nan, random};

struct Rope {
    positions: Vec<u32>,
    heads: usize,
    head_dim: usize,
}

fn inv_freq(head_dim: usize) -> Vec<f32> {
    (0..head_dim / 2).map(|i| 10_000f32.powf(-2.0 * i as f32 / head_dim as f32)).collect()
}

impl Case for Rope {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        let n = self.positions.len() * self.heads * self.head_dim;
        let x = b.upload(&random(1, n));
        let (mut turned, mut back, mut operands) = (b.upload(&nan(n)), b.upload(&nan(n)), b.operands(n));
        let freq = inv_freq(self.head_dim);
        b.rope(&x, &self.positions, self.heads, self.head_dim, &freq, false, &mut turned);
        b.rope(&turned, &self.positions, self.heads, self.head_dim, &freq, true, &mut back);
        b.rope(&x, &self.positions, self.heads, self.head_dim, &freq, false, &mut operands);
        vec![b.download(&turned), b.download(&back), b.download(&operands)]
    }
}

/// One rounding of sine and cosine each, and three of the rotation, of numbers up to 1.4; operands are rounded to
/// bf16 besides.
fn tolerance(precision: Precision) -> (f64, f64) {
    match precision {
        Precision::F32 => (1e-6, 0.0),
        Precision::Bf16 | Precision::Int8 => (1e-6, 2f64.powi(-8)),
    }
}

#[test]
fn any_shape() {
    for (t, heads, head_dim) in [(0, 1, 2), (1, 1, 2), (3, 2, 6), (5, 3, 16), (2, 1, 34), (40, 3, 64)] {
        let positions = (0..t as u32).map(|i| i * i % 8192).collect();
        check(&Rope { positions, heads, head_dim }, tolerance);
    }
}

/// The kept table must not serve other positions or frequencies.
#[test]
fn tables_are_not_mixed_up() {
    struct Several;
    impl Case for Several {
        fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
            let calls = [(vec![1, 2], 4), (vec![2, 1], 4), (vec![1, 2], 8), (vec![1], 4), (vec![1, 2], 4)];
            calls
                .into_iter()
                .flat_map(|(positions, head_dim)| Rope { positions, heads: 1, head_dim }.run(b))
                .collect()
        }
    }
    check(&Several, tolerance);
}

#[test]
fn threads_change_no_bit() {
    check_threads(&Rope { positions: (0..500).collect(), heads: 3, head_dim: 64 });
}

/// A rotation is linear, so its gradient is the inverse rotation of the gradient.
#[test]
fn gradient_by_differences() {
    let (b, positions, heads, head_dim) = (Reference::<f64>::new(), [3, 70], 2, 6);
    let n = positions.len() * heads * head_dim;
    let wide = |seed| -> Vec<f64> { random(seed, n).into_iter().map(f64::from).collect() };
    let (x, probe) = (wide(1), wide(2));
    let loss = |x: &[f64]| -> f64 {
        let mut out = vec![f64::NAN; n];
        b.rope(&x.to_vec(), &positions, heads, head_dim, &inv_freq(head_dim), false, &mut out);
        out.iter().zip(&probe).map(|(o, p)| o * p).sum()
    };
    let mut dx = vec![f64::NAN; n];
    b.rope(&probe, &positions, heads, head_dim, &inv_freq(head_dim), true, &mut dx);
    check_gradient("dx", loss, &x, &dx);
}
