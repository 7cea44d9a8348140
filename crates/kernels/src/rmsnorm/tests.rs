//! RMSNorm against the reference and against differences.

use crate::backend::Backend;
use crate::options::Precision;
use crate::reference::Reference;
use crate::testing::{Case, check, check_gradient, check_threads, nan, random};

struct Norm {
    t: usize,
    c: usize,
    /// Magnitude of the inputs.
    size: f32,
}

impl Case for Norm {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
        let (t, c) = (self.t, self.c);
        let scaled = |seed| random(seed, t * c).into_iter().map(|x| x * self.size).collect::<Vec<_>>();
        let (x, w, dout) = (b.upload(&scaled(1)), b.upload(&random(2, c)), b.upload(&random(3, t * c)));
        let (mut out, mut rstd) = (b.upload(&nan(t * c)), b.upload(&nan(t)));
        let mut kept = b.upload(&nan(t * c));
        b.rmsnorm(&x, &w, 1e-5, t, &mut out, &mut rstd, Some(&mut kept));
        let (mut dx, mut copy) = (b.upload(&random(4, t * c)), b.upload(&nan(t * c)));
        b.rmsnorm_backward(&dout, &x, &w, &rstd, t, Some(&mut dx), Some(&mut copy));
        let (mut dx_alone, mut out_alone) = (b.upload(&random(4, t * c)), b.upload(&nan(t * c)));
        b.rmsnorm_backward(&dout, &x, &w, &rstd, t, Some(&mut dx_alone), None);
        b.rmsnorm_backward(&dout, &x, &w, &rstd, t, None, Some(&mut out_alone));
        vec![&out, &rstd, &kept, &dx, &copy, &dx_alone, &out_alone]
            .into_iter()
            .map(|x| b.download(x))
            .collect()
    }
}

/// Sums of C squares in 64 lanes are off by at most `C/64 + 6` roundings; a handful more follow. The gradient
/// is of magnitude rstd, and its two terms may cancel.
#[test]
fn any_shape() {
    for size in [1.0, 1e-3, 1e4] {
        for (t, c) in
            [(0, 4), (1, 1), (1, 15), (2, 16), (3, 17), (2, 63), (1, 64), (5, 65), (3, 576), (70, 500)]
        {
            let rstd = 2.0 / f64::from(size) + 1e-30;
            let tolerance = 1e-6 * (rstd.min(400.0) + 1.0) * (1.0 + (c as f64) / 64.0);
            check(&Norm { t, c, size }, |_| (tolerance, 2e-6 * (1.0 + (c as f64) / 64.0)));
        }
    }
}

/// Operands are the numbers rounded, and are read as what they hold.
#[test]
fn operands() {
    struct Operands;
    impl Case for Operands {
        fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f32>> {
            let (t, c) = (20, 70);
            let (x, w) = (b.upload(&random(1, t * c)), b.upload(&random(2, c)));
            let (mut out, mut kept) = (b.operands(t * c), b.operands(t * c));
            let (mut rstd, mut dx, mut copy) =
                (b.upload(&nan(t)), b.upload(&random(4, t * c)), b.operands(t * c));
            b.rmsnorm(&x, &w, 1e-5, t, &mut out, &mut rstd, Some(&mut kept));
            let mut again = b.operands(t * c);
            b.rmsnorm(&kept, &w, 1e-5, t, &mut again, &mut rstd, None);
            b.rmsnorm_backward(&out, &kept, &w, &rstd, t, Some(&mut dx), Some(&mut copy));
            let mut alone = b.operands(t * c);
            b.rmsnorm_backward(&out, &kept, &w, &rstd, t, None, Some(&mut alone));
            vec![&out, &kept, &again, &dx, &copy, &alone].into_iter().map(|x| b.download(x)).collect()
        }
    }
    // Values up to about 3, rounded to bf16 once or twice.
    check(&Operands, |precision| match precision {
        Precision::F32 => (1e-5, 1e-5),
        Precision::Bf16 | Precision::Int8 => (2f64.powi(-6), 2f64.powi(-7)),
    });
    check_threads(&Operands);
}

#[test]
fn threads_change_no_bit() {
    check_threads(&Norm { t: 300, c: 576, size: 1.0 });
}

#[test]
fn gradient_by_differences() {
    let (b, t, c) = (Reference::<f64>::new(), 3, 7);
    let wide = |seed, n| -> Vec<f64> { random(seed, n).into_iter().map(f64::from).collect() };
    let (x, w, probe) = (wide(1, t * c), wide(2, c), wide(3, t * c));
    let forward = |x: &[f64], rstd: &mut Vec<f64>| -> f64 {
        let mut out = vec![f64::NAN; t * c];
        b.rmsnorm(&x.to_vec(), &w, 1e-5, t, &mut out, rstd, None);
        out.iter().zip(&probe).map(|(o, p)| o * p).sum()
    };
    let (mut rstd, mut dx) = (vec![f64::NAN; t], vec![0.0; t * c]);
    forward(&x, &mut rstd);
    b.rmsnorm_backward(&probe, &x, &w, &rstd, t, Some(&mut dx), None);
    check_gradient("dx", |x| forward(x, &mut vec![f64::NAN; t]), &x, &dx);
}
