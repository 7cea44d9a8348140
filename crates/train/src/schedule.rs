//! Learning rate as a function of the step.

/// Linear warm-up, then constant.
///
/// Step `s` (from 1) of `warmup_steps` has `peak * s / warmup_steps`, so that no step is wasted on rate 0 and
/// step `warmup_steps` is the first at the peak. Later steps, and all steps without warm-up, have `peak`.
pub fn learning_rate(peak: f32, warmup_steps: u32, step: u64) -> f32 {
    assert!(step >= 1, "steps count from 1");
    if step >= u64::from(warmup_steps) {
        return peak;
    }
    (decimal(peak) * step as f64 / f64::from(warmup_steps)) as f32
}

/// The f64 whose shortest decimal is that of `value`, so that reports say 0.0001 and not 0.00009999999747.
pub fn decimal(value: f32) -> f64 {
    value.to_string().parse().expect("a float prints as a float")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_is_linear_and_then_constant() {
        let rates =
            |warmup| (1..=5).map(|step| decimal(learning_rate(1e-4, warmup, step))).collect::<Vec<_>>();
        assert_eq!(rates(0), [1e-4; 5]);
        assert_eq!(rates(1), [1e-4; 5]);
        assert_eq!(rates(4), [2.5e-5, 5e-5, 7.5e-5, 1e-4, 1e-4]);
    }
}
