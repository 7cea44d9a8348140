//! Checks of `job.json` that need no file but itself.

use hearth_kernels::Isa;
use hearth_run::{Backend, EarlyStop, JobSpec, LORA_TARGETS, LrSchedule, Precision, SAMPLER_CHECKPOINTS_MAX};

use crate::error::TrainError;

/// Highest rank; above it an adapter is larger than what it adapts in small models.
const LORA_RANK_MAX: u32 = 256;
/// Most passes over the rows: the steps of all of them are counted before the first one.
const EPOCHS_MAX: u32 = 1000;
/// Highest alpha; above it the adapter is all there is.
const LORA_ALPHA_MAX: f32 = 1e6;

/// Refuses settings that cannot work, all of them in one message.
pub fn check(job: &JobSpec) -> Result<(), TrainError> {
    let mut problems = Vec::new();
    let mut require = |holds: bool, problem: &str| {
        if !holds {
            problems.push(problem.to_owned());
        }
    };
    require(!job.train_files.is_empty(), "train_files is empty");
    require(
        job.eval_files.is_empty() || !job.eval_carveout,
        "only one of eval_files and eval_carveout can say what is evaluated",
    );
    require(
        job.early_stop.is_none() || job.eval_carveout || !job.eval_files.is_empty(),
        "early_stop needs evaluation rows: eval_files or eval_carveout",
    );
    if let Some(EarlyStop { patience, min_gain }) = job.early_stop {
        require(
            patience >= 1 && (0.0..1.0).contains(&min_gain),
            "early_stop needs a patience of 1 or more and a min_gain from 0 to below 1",
        );
    }
    if let LrSchedule::Cosine { min_ratio, decay_ratio } = job.lr_schedule {
        require(
            (0.0..=1.0).contains(&min_ratio) && decay_ratio > 0.0 && decay_ratio <= 1.0,
            "lr_schedule needs a min_ratio from 0 to 1 and a decay_ratio above 0 and at most 1",
        );
    }
    require((1..=EPOCHS_MAX).contains(&job.epochs), &format!("epochs must be from 1 to {EPOCHS_MAX}"));
    require(
        job.learning_rate.is_finite() && job.learning_rate > 0.0,
        "learning_rate must be finite and above 0",
    );
    require(
        job.weight_decay.is_finite() && job.weight_decay >= 0.0,
        "weight_decay must be finite and not negative",
    );
    require(
        (1..=LORA_RANK_MAX).contains(&job.lora_rank),
        &format!("lora_rank must be from 1 to {LORA_RANK_MAX}"),
    );
    require(
        job.lora_alpha > 0.0 && job.lora_alpha <= LORA_ALPHA_MAX,
        &format!("lora_alpha must be above 0 and at most {LORA_ALPHA_MAX}"),
    );
    require(job.max_context_length >= 2, "max_context_length must be at least 2");
    require(
        job.batch_size_samples >= 1 || job.batch_size_tokens >= 1,
        "batch_size_tokens or batch_size_samples must be at least 1",
    );
    require(job.gradient_accumulation_steps >= 1, "gradient_accumulation_steps must be at least 1");
    require(job.micro_batch_tokens >= 1, "micro_batch_tokens must be at least 1");
    require(!job.target_modules.is_empty(), "target_modules is empty");
    for (i, module) in job.target_modules.iter().enumerate() {
        require(
            LORA_TARGETS.contains(&module.as_str()) || job.warm_start_dir.is_some(),
            &format!("target_modules[{i}] is not one of {}", LORA_TARGETS.join(", ")),
        );
        require(
            !job.target_modules[..i].contains(module),
            &format!("target_modules[{i}] repeats an earlier one"),
        );
    }
    require(
        job.backend != Backend::Reference || job.precision == Precision::F32,
        "backend reference needs precision f32",
    );
    require(
        job.precision != Precision::Int8 || job.backend == Backend::Reference || Isa::best().has_int8(),
        "precision int8 (isTurbo) needs a processor with AVX-512 VNNI, which this one is not; leave it out",
    );
    if problems.is_empty() { Ok(()) } else { Err(TrainError::Setting { message: problems.join("; ") }) }
}

/// What to tell if the learning rate rises to the end: how many steps batches of tokens make is known only now.
pub fn endless_warm_up(job: &JobSpec, total_steps: u64) -> Option<String> {
    let warm_up = u64::from(job.learning_rate_warmup_steps);
    (warm_up >= total_steps.max(1)).then(|| {
        format!(
            "{warm_up} steps of warm-up are not less than the {total_steps} of the whole training, so the learning rate \
             rises to the end; lower learning_rate_warmup_steps"
        )
    })
}

/// Refuses what cannot work with so many steps, as soon as they are known.
pub fn check_steps(job: &JobSpec, total_steps: u64) -> Result<(), TrainError> {
    let interval = u64::from(job.sampler_checkpoint_interval_steps);
    let count = total_steps.checked_div(interval).unwrap_or(0);
    if count > SAMPLER_CHECKPOINTS_MAX {
        return Err(TrainError::Setting {
            message: format!(
                "sampler_checkpoint_interval_steps {interval} would keep {count} checkpoints of {total_steps} steps, and \
                 {SAMPLER_CHECKPOINTS_MAX} are kept at most; set it to {} or more",
                total_steps.div_ceil(SAMPLER_CHECKPOINTS_MAX)
            ),
        });
    }
    Ok(())
}
