//! What the tests of all ops share: seeded numbers, weights of every form, comparison with the reference.

use std::sync::Arc;

use crate::backend::Backend;
use crate::cpu::Cpu;
use crate::options::{CpuOptions, Isa, Precision};
use crate::reference::Reference;
use crate::weight::{WeightBytes, WeightDtype};

/// Every stored form.
pub const DTYPES: [WeightDtype; 11] = WeightDtype::ALL;

/// A small generator (splitmix64), so that a failing case is found again by its seed.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// `n` numbers in [-1, 1).
pub fn random(seed: u64, n: usize) -> Vec<f32> {
    let mut seeded = Seeded(seed);
    (0..n).map(|_| seeded.unit()).collect()
}

/// NaN in every place: what outputs hold before they are overwritten.
pub fn nan(n: usize) -> Vec<f32> {
    vec![f32::NAN; n]
}

/// A weight of random blocks with values of magnitude up to about 1.
pub fn weight(dtype: WeightDtype, rows: usize, cols: usize, seed: u64) -> WeightBytes {
    let mut seeded = Seeded(seed);
    let mut bytes: Vec<u8> = Vec::new();
    let blocks = rows * cols / dtype.block_len();
    for _ in 0..blocks {
        let start = bytes.len();
        match dtype {
            WeightDtype::F32 => bytes.extend(seeded.unit().to_le_bytes()),
            WeightDtype::F16 => bytes.extend(half::f16::from_f32(seeded.unit()).to_le_bytes()),
            WeightDtype::Bf16 => bytes.extend(half::bf16::from_f32(seeded.unit()).to_le_bytes()),
            _ => bytes.extend((0..dtype.block_bytes()).map(|_| (seeded.next() >> 32) as u8)),
        }
        // Scales (and minima) of the block forms: (offset, largest magnitude).
        let scales: &[(usize, f32)] = match dtype {
            WeightDtype::F32 | WeightDtype::F16 | WeightDtype::Bf16 => &[],
            WeightDtype::Q8_0 => &[(0, 1.0 / 128.0)],
            WeightDtype::Q4_0 => &[(0, 1.0 / 8.0)],
            WeightDtype::Q4_1 => &[(0, 1.0 / 16.0), (2, 0.5)],
            WeightDtype::Q5_0 => &[(0, 1.0 / 16.0)],
            WeightDtype::Q5_1 => &[(0, 1.0 / 32.0), (2, 0.5)],
            WeightDtype::Q4K => &[(0, 1.0 / 1024.0), (2, 1.0 / 64.0)],
            WeightDtype::Q5K => &[(0, 1.0 / 2048.0), (2, 1.0 / 64.0)],
            WeightDtype::Q6K => &[(208, 1.0 / 4096.0)],
        };
        for &(at, largest) in scales {
            let scale = half::f16::from_f32(seeded.unit() * largest);
            bytes[start + at..start + at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    let range = 0..bytes.len();
    WeightBytes::new(dtype, rows, cols, Arc::new(bytes), range)
}

/// One call (or chain of calls) of ops that can run on any backend.
pub trait Case {
    /// All outputs. Buffers that an op overwrites start as NaN.
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>>;
}

/// `diff <= atol + rtol * |want|` everywhere; NaN fails.
pub fn assert_close(what: &str, got: &[Vec<f32>], want: &[Vec<f32>], atol: f64, rtol: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of outputs");
    for (o, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.len(), want.len(), "{what}: length of output {o}");
        for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
            let (got, want) = (f64::from(got), f64::from(want));
            let close = (got - want).abs() <= atol + rtol * want.abs();
            assert!(close, "{what}: output {o} at {i}: {got} instead of {want} (atol {atol}, rtol {rtol})");
        }
    }
}

/// A CPU backend.
pub fn cpu(isa: Isa, precision: Precision, threads: usize) -> Cpu {
    Cpu::new(CpuOptions { threads, isa: Some(isa), precision }).expect("an available instruction set")
}

/// Precisions that differ in every op.
pub const FLOATS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// Every instruction set and [`FLOATS`] against the reference in f64. `tolerance` gives atol and rtol.
pub fn check(case: &impl Case, tolerance: impl Fn(Precision) -> (f64, f64)) {
    check_in(&FLOATS, case, tolerance);
}

/// As [`check`], with these precisions.
pub fn check_in(precisions: &[Precision], case: &impl Case, tolerance: impl Fn(Precision) -> (f64, f64)) {
    let want = case.run(&Reference::<f64>::new());
    for isa in Isa::available() {
        for &precision in precisions {
            let b = cpu(isa, precision, 2);
            let (atol, rtol) = tolerance(precision);
            assert_close(&b.name(), &case.run(&b), &want, atol, rtol);
        }
    }
}

/// The same bits with 1, 2 and 3 threads, in every precision, on every instruction set.
pub fn check_threads(case: &impl Case) {
    let bits = |outputs: Vec<Vec<f32>>| -> Vec<Vec<u32>> {
        outputs.into_iter().map(|o| o.into_iter().map(f32::to_bits).collect()).collect()
    };
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let want = bits(case.run(&cpu(isa, precision, 1)));
            for threads in [2, 3] {
                let got = bits(case.run(&cpu(isa, precision, threads)));
                assert!(got == want, "{isa} {precision:?}: {threads} threads give other bits than 1");
            }
        }
    }
}

/// Gradient by central differences in f64 against an analytic one. `loss` maps inputs to a scalar.
pub fn check_gradient(what: &str, loss: impl Fn(&[f64]) -> f64, at: &[f64], gradient: &[f64]) {
    const STEP: f64 = 1e-5;
    assert_eq!(at.len(), gradient.len(), "{what}: one derivative per input");
    let mut x = at.to_vec();
    for i in 0..x.len() {
        x[i] = at[i] + STEP;
        let up = loss(&x);
        x[i] = at[i] - STEP;
        let down = loss(&x);
        x[i] = at[i];
        let numeric = (up - down) / (2.0 * STEP);
        // The truncation error is of order STEP^2 times the third derivative, the rounding error of order
        // 1e-16 / STEP times the loss: both about 1e-10 for losses and derivatives of order 1 to 10.
        let close = (numeric - gradient[i]).abs() <= 1e-8 + 1e-7 * numeric.abs();
        assert!(close, "{what}: derivative {i} is {} instead of {numeric}", gradient[i]);
    }
}
