//! Learning rate as a function of the step.

use std::f64::consts::PI;

use hearth_run::{JobSpec, LrSchedule};

/// The rate of step `s` (from 1) of `total_steps`.
///
/// - Warm-up of `W` steps: `peak * s / W`, so that no step is wasted on rate 0 and step `W` is the first at the peak.
/// - Constant: `peak`.
/// - Linear: `peak * (1 - p)`, with `p = (s - 1 - D) / (total - D)` and `D = W`.
/// - Cosine: `peak * (m + (1 - m) * (1 + cos(pi * p)) / 2)`, with `m = min_ratio` and `D` the larger of `W` and
///   `total - max(1, round(decay_ratio * total))`; up to step `D` the rate is `peak`.
///
/// Step `D + 1` is the last at the peak and step `total` is just above the least, so every step learns. After the
/// warm-up these are the numbers of transformers' `get_linear_schedule_with_warmup`,
/// `get_cosine_schedule_with_warmup` and `get_cosine_with_min_lr_schedule_with_warmup`.
pub fn learning_rate(job: &JobSpec, total_steps: u64, step: u64) -> f32 {
    assert!(step >= 1, "steps count from 1");
    let (peak, warmup_steps) = (job.learning_rate, u64::from(job.learning_rate_warmup_steps));
    if step < warmup_steps {
        return (decimal(peak) * step as f64 / warmup_steps as f64) as f32;
    }
    let share = |after: u64| (step - 1).saturating_sub(after) as f64 / (total_steps - after) as f64;
    let factor = match job.lr_schedule {
        _ if step <= warmup_steps => return peak,
        LrSchedule::Constant => return peak,
        LrSchedule::Linear => 1.0 - share(warmup_steps),
        LrSchedule::Cosine { min_ratio, decay_ratio } => {
            let decaying = ((decimal(decay_ratio) * total_steps as f64).round() as u64).max(1);
            let after = warmup_steps.max(total_steps.saturating_sub(decaying));
            let least = decimal(min_ratio);
            least + (1.0 - least) * (1.0 + (PI * share(after)).cos()) / 2.0
        }
    };
    (decimal(peak) * factor) as f32
}

/// The f64 whose shortest decimal is that of `value`, so that reports say 0.0001 and not 0.00009999999747.
pub fn decimal(value: f32) -> f64 {
    value.to_string().parse().expect("a float prints as a float")
}

#[cfg(test)]
mod tests {
    use hearth_run::{Backend, Precision};

    use super::*;

    /// The rates of all steps, as multiples of 1e-4.
    fn rates(lr_schedule: LrSchedule, warmup_steps: u32, total_steps: u64) -> Vec<f64> {
        let job = JobSpec {
            version: JobSpec::VERSION,
            base_model_dir: Default::default(),
            base_model_name: String::new(),
            train_files: vec![],
            eval_files: vec![],
            eval_carveout: false,
            early_stop: None,
            warm_start_dir: None,
            warm_start_name: None,
            data_origins: vec![],
            chat_template: None,
            seed: 0,
            epochs: 1,
            learning_rate: 1e-4,
            learning_rate_warmup_steps: warmup_steps,
            lr_schedule,
            weight_decay: 0.0,
            lora_rank: 1,
            lora_alpha: 1.0,
            target_modules: vec![],
            max_context_length: 2,
            batch_size_tokens: 0,
            batch_size_samples: 1,
            gradient_accumulation_steps: 1,
            micro_batch_tokens: 1,
            checkpoint_interval_steps: 0,
            sampler_checkpoint_interval_steps: 0,
            eval_interval_steps: 0,
            backend: Backend::Reference,
            precision: Precision::F32,
            threads: 1,
        };
        (1..=total_steps).map(|step| decimal(learning_rate(&job, total_steps, step)) * 1e4).collect()
    }

    fn check(lr_schedule: LrSchedule, warmup_steps: u32, expect: &[f64]) {
        let got = rates(lr_schedule, warmup_steps, expect.len() as u64);
        for (step, (got, expect)) in got.iter().zip(expect).enumerate() {
            assert!((got - expect).abs() < 1e-6, "{lr_schedule:?} step {}: {got} and {expect}", step + 1);
        }
    }

    const COSINE: LrSchedule = LrSchedule::Cosine { min_ratio: 0.0, decay_ratio: 1.0 };

    #[test]
    fn warm_up_is_linear_and_then_constant() {
        assert_eq!(rates(LrSchedule::Constant, 0, 5), [1.0; 5]);
        check(LrSchedule::Constant, 1, &[1.0; 5]);
        check(LrSchedule::Constant, 4, &[0.25, 0.5, 0.75, 1.0, 1.0]);
        // A warm-up that never ends.
        check(LrSchedule::Linear, 10, &[0.1, 0.2, 0.3]);
        check(COSINE, 3, &[1.0 / 3.0, 2.0 / 3.0, 1.0]);
    }

    /// Numbers that PyTorch's LambdaLR gives in eight steps with the schedules of transformers 5.
    #[test]
    fn decays_are_those_of_transformers() {
        check(LrSchedule::Linear, 0, &[1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]);
        let cosine = [
            1.0,
            0.9619397662556435,
            0.8535533905932738,
            0.691341716182545,
            0.5,
            0.3086582838174551,
            0.1464466,
            0.0380602,
        ];
        check(COSINE, 0, &cosine);
        let with_least = [
            1.0,
            0.9657457896300791,
            0.8681980515339464,
            0.7222075445642904,
            0.55,
            0.3777924554357096,
            0.2318019,
            0.1342542,
        ];
        check(LrSchedule::Cosine { min_ratio: 0.1, decay_ratio: 1.0 }, 0, &with_least);
        // After a warm-up of three steps; theirs begins with a step of rate 0, ours does not.
        let third = 1.0 / 3.0;
        check(LrSchedule::Linear, 3, &[third, 2.0 * third, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]);
        check(COSINE, 3, &[third, 2.0 * third, 1.0, 1.0, 0.9045085, 0.6545085, 0.3454915, 0.0954915]);
    }

    #[test]
    fn the_decay_may_begin_late() {
        let late = |decay_ratio| LrSchedule::Cosine { min_ratio: 0.5, decay_ratio };
        check(late(0.25), 0, &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75]);
        check(late(0.5), 0, &[1.0, 1.0, 1.0, 1.0, 1.0, 0.9267767, 0.75, 0.5732233]);
        // The warm-up is longer than what the decay leaves.
        check(late(1.0), 6, &[1.0 / 6.0, 2.0 / 6.0, 0.5, 4.0 / 6.0, 5.0 / 6.0, 1.0, 1.0, 0.75]);
        check(late(0.001), 0, &[1.0, 1.0]);
        check(LrSchedule::Linear, 0, &[1.0]);
    }
}
