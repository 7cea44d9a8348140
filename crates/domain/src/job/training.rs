//! The numbers of the training: epochs, rates, rank, lengths, batches.

use super::check::Checker;
use super::{AdapterSettings, JobRequest, LrScheduler};
use crate::code::Code;
use crate::dataset::Dataset;

/// Most epochs.
pub const EPOCHS_MAX: i32 = 100;
/// Epochs when not given.
pub const EPOCHS_DEFAULT: i32 = 1;
/// Highest learning rate.
pub const LEARNING_RATE_MAX: f32 = 0.1;
/// Highest LoRA rank.
pub const LORA_RANK_MAX: i32 = 32;
/// LoRA rank when not given.
pub const LORA_RANK_DEFAULT: i32 = 8;
/// `lora_alpha` is this many times the rank.
pub const LORA_ALPHA_PER_RANK: i32 = 2;
/// Shortest `maxContextLength`, in tokens.
pub const CONTEXT_LENGTH_MIN: i32 = 16;
/// Samples of one batch when neither `batchSize` nor `batchSizeSamples` is given. Small on purpose: LoRA learns
/// better from many small steps, and a small dataset has few steps to give.
pub const BATCH_SIZE_SAMPLES_DEFAULT: i32 = 8;
/// Most samples of one batch.
pub const BATCH_SIZE_SAMPLES_MAX: i32 = 1024;
/// Most tokens of one batch.
pub const BATCH_SIZE_MAX: i32 = 1 << 20;
/// Most batches of one optimiser step.
pub const GRADIENT_ACCUMULATION_STEPS_MAX: i32 = 1024;
/// Most steps of warm-up.
pub const WARMUP_STEPS_MAX: i32 = 1_000_000;
/// Steps that the default rate counts with when nobody knows them, because the rows lie elsewhere: the end of the formula
/// that cannot destroy a long run.
const STEPS_UNKNOWN: u64 = 1000;
/// With `evalAutoCarveout`, one row of so many is set aside, rounded down; one at least, if there are two.
pub const CARVEOUT_ROWS_PER_ROW: u64 = 10;
/// Most rows that are set aside so.
pub const CARVEOUT_ROWS_MAX: u64 = 100;
/// Bytes of JSONL that make about one token, to guess the steps of a job whose batches are counted in tokens.
const BYTES_PER_TOKEN: u64 = 4;
/// Evaluations in a row without a gain after which a job with `earlyStop` ends. There are two in each epoch.
pub const EARLY_STOP_PATIENCE: u32 = 3;
/// Share by which the evaluation loss must have fallen to be a gain.
pub const EARLY_STOP_MIN_GAIN: f32 = 0.001;
/// Most checkpoints that a job keeps for `samplerCheckpointSaveIntervalSteps`.
pub const SAMPLER_CHECKPOINTS_MAX: u64 = 100;
/// `decayRatio` of a cosine when not given: it falls from the end of the warm-up on.
pub const DECAY_RATIO_DEFAULT: f32 = 1.0;
/// Weight decay when not given.
pub const WEIGHT_DECAY_DEFAULT: f32 = 0.01;
/// Highest weight decay.
pub const WEIGHT_DECAY_MAX: f32 = 1.0;

/// Learning rate when not given, from what the job is. `docs/adr/005-learning-rate.md` has sources and measurements.
///
/// `3.5e-3 * (135e6 / weights)^(1/2) * (8 / rank)^(1/2) * (45 / steps)^(1/3)`, rounded to two digits. `weights` counts
/// those of the base. Steps count from 15 to 1000, smaller bases and ranks as those of the formula: beyond, nothing is
/// known.
/// - Large models want less than small ones.
/// - `lora_alpha / rank` is fixed here, so an adapter of higher rank moves further at the same rate.
/// - Long runs want less; in a short run B, which starts at zero, has only few steps to grow.
pub fn learning_rate_default(weights: u64, rank: u32, steps: u64) -> f32 {
    const MEASURED_RATE: f64 = 3.5e-3;
    const MEASURED_WEIGHTS: f64 = 135e6;
    const MEASURED_RANK: f64 = 8.0;
    const MEASURED_STEPS: f64 = 45.0;
    let model = MEASURED_WEIGHTS / (weights as f64).max(MEASURED_WEIGHTS);
    let rank = MEASURED_RANK / f64::from(rank).max(MEASURED_RANK);
    let steps = MEASURED_STEPS / (steps as f64).clamp(15.0, 1000.0);
    let rate = MEASURED_RATE * model.sqrt() * rank.sqrt() * steps.cbrt();
    format!("{rate:.1e}").parse().expect("a number that was just printed is one")
}

/// Settings that do not depend on the model or the dataset, but for the learning rate's default.
pub(super) struct Numbers {
    pub(super) epochs: u32,
    /// 0 when not given.
    pub(super) learning_rate: f32,
    pub(super) learning_rate_warmup_steps: u32,
    pub(super) optimizer_weight_decay: f32,
    pub(super) lora_rank: u32,
    pub(super) gradient_accumulation_steps: u32,
}

/// `adapter` is gone on from; its rank is the job's.
pub(super) fn numbers(
    check: &mut Checker,
    request: &JobRequest,
    adapter: Option<&AdapterSettings>,
) -> Numbers {
    let (warmup, decay) = (request.learning_rate_warmup_steps, request.optimizer_weight_decay);
    let accumulation = request.gradient_accumulation_steps;
    Numbers {
        epochs: check.whole("epochs", request.epochs, EPOCHS_MAX, EPOCHS_DEFAULT),
        learning_rate: check.real("learningRate", request.learning_rate, LEARNING_RATE_MAX, 0.0),
        learning_rate_warmup_steps: check.whole("learningRateWarmupSteps", warmup, WARMUP_STEPS_MAX, 0),
        optimizer_weight_decay: check.real(
            "optimizerWeightDecay",
            decay,
            WEIGHT_DECAY_MAX,
            WEIGHT_DECAY_DEFAULT,
        ),
        lora_rank: lora_rank(check, request.lora_rank, adapter),
        gradient_accumulation_steps: check.whole(
            "gradientAccumulationSteps",
            accumulation,
            GRADIENT_ACCUMULATION_STEPS_MAX,
            1,
        ),
    }
}

fn lora_rank(check: &mut Checker, given: i32, adapter: Option<&AdapterSettings>) -> u32 {
    let Some(AdapterSettings { r, .. }) = adapter else {
        return check.whole("loraRank", given, LORA_RANK_MAX, LORA_RANK_DEFAULT);
    };
    if given != 0 && i64::from(given) != i64::from(*r) {
        let what = format!("{given} is not {r}, the rank of the adapter in warmStartFrom; leave it out");
        check.add(Code::InvalidArgument, "loraRank", what);
    }
    *r
}

/// What is given, with `decayRatio` filled in.
pub(super) fn lr_scheduler(check: &mut Checker, given: LrScheduler) -> LrScheduler {
    let LrScheduler::Cosine { min_lr_ratio, decay_ratio } = given else { return given };
    LrScheduler::Cosine {
        min_lr_ratio: check.real("lrScheduler.cosine.minLrRatio", min_lr_ratio, 1.0, 0.0),
        decay_ratio: check.real("lrScheduler.cosine.decayRatio", decay_ratio, 1.0, DECAY_RATIO_DEFAULT),
    }
}

/// The rate when none is given.
pub(super) fn rate_by_default(weights: u64, rank: u32, steps: Option<u64>) -> f32 {
    learning_rate_default(weights, rank, steps.unwrap_or(STEPS_UNKNOWN))
}

/// A warm-up that the training does not outlast: no step would have the rate that was asked for.
pub(super) fn warmup(check: &mut Checker, numbers: &Numbers, batch: &Batch, steps: Option<u64>) {
    let warmup = u64::from(numbers.learning_rate_warmup_steps);
    if let Some(steps) = steps.filter(|steps| batch.samples > 0 && warmup >= *steps && warmup > 0) {
        let what = format!("{warmup} steps of warm-up are not less than the {steps} of the whole training");
        check.add(Code::InvalidArgument, "learningRateWarmupSteps", what);
    }
}

/// The interval that is given, if it does not keep too many checkpoints. Of batches that are counted in tokens, and of
/// rows that lie elsewhere, only the trainer knows the steps.
pub(super) fn sampler_checkpoints(
    check: &mut Checker,
    request: &JobRequest,
    batch: &Batch,
    steps: Option<u64>,
) -> u32 {
    const FIELD: &str = "samplerCheckpointSaveIntervalSteps";
    let given = request.sampler_checkpoint_save_interval_steps;
    let interval = check.whole(FIELD, given, i32::MAX, 0);
    let steps = steps.unwrap_or(0);
    let count = steps.checked_div(u64::from(interval)).unwrap_or(0);
    if batch.samples > 0 && count > SAMPLER_CHECKPOINTS_MAX {
        let what = format!(
            "{given} would keep {count} checkpoints of {steps} steps, and {SAMPLER_CHECKPOINTS_MAX} are kept at most; \
             set it to {} or more",
            steps.div_ceil(SAMPLER_CHECKPOINTS_MAX)
        );
        check.add(Code::InvalidArgument, FIELD, what);
    }
    interval
}

/// Optimiser steps of the whole job; `None` if the rows lie elsewhere and nobody has said how many they are. When
/// batches are counted in samples, so many at most: rows that are too long are left out. When they are counted in tokens,
/// a guess from the size of the files.
pub(super) fn steps(
    numbers: &Numbers,
    batch: &Batch,
    dataset: Option<&Dataset>,
    is_carved_out: bool,
) -> Option<u64> {
    let dataset = dataset?;
    let batches = match batch.samples {
        0 => {
            let bytes: u64 = dataset.files.iter().map(|file| file.size_bytes).sum();
            (bytes / BYTES_PER_TOKEN).div_ceil(u64::from(batch.tokens.max(1)))
        }
        samples => {
            let rows = dataset.example_count;
            let carved_out = if is_carved_out { carved_out(rows) } else { 0 };
            (rows - carved_out).div_ceil(u64::from(samples))
        }
    };
    let steps = batches.div_ceil(u64::from(numbers.gradient_accumulation_steps));
    (steps > 0).then(|| steps.saturating_mul(u64::from(numbers.epochs)))
}

/// How many of so many rows the trainer sets aside for evaluation, if none is too long.
fn carved_out(rows: u64) -> u64 {
    (rows / CARVEOUT_ROWS_PER_ROW).clamp(1, CARVEOUT_ROWS_MAX).min(rows.saturating_sub(1))
}

pub(super) struct Batch {
    pub(super) max_context_length: u32,
    pub(super) tokens: u32,
    pub(super) samples: u32,
}

/// `maxContextLength`, `batchSize` and `batchSizeSamples` depend on each other:
/// - `maxContextLength` is by default the model's, and never above it nor above a given `batchSize`;
/// - `batchSizeSamples` decides when given; else `batchSize` when given; else eight samples.
pub(super) fn batch(check: &mut Checker, request: &JobRequest, model_context: i32) -> Batch {
    let context = request.max_context_length;
    if context != 0 && !(CONTEXT_LENGTH_MIN..=model_context).contains(&context) {
        let most = if model_context == i32::MAX {
            String::new()
        } else {
            format!(" and {model_context}, the model's")
        };
        check.add(
            Code::InvalidArgument,
            "maxContextLength",
            format!("{context} is not between {CONTEXT_LENGTH_MIN}{most} (0 is the default)"),
        );
    }
    let samples = check.whole("batchSizeSamples", request.batch_size_samples, BATCH_SIZE_SAMPLES_MAX, 0);
    let tokens = check.whole("batchSize", request.batch_size, BATCH_SIZE_MAX, 0);
    if samples > 0 && tokens > 0 {
        check.add(
            Code::InvalidArgument,
            "batchSizeSamples",
            "only one of batchSize (tokens) and batchSizeSamples can decide; give one",
        );
    }
    if tokens > 0 && (tokens as i32) < context.max(CONTEXT_LENGTH_MIN) {
        check.add(
            Code::InvalidArgument,
            "batchSize",
            format!(
                "{tokens} tokens are less than {}, the tokens of one sample (maxContextLength)",
                context.max(CONTEXT_LENGTH_MIN)
            ),
        );
    }
    let max_context_length = match (context, tokens) {
        (0, 0) => model_context as u32,
        (0, tokens) => tokens.min(model_context as u32),
        (context, _) => context.max(0) as u32,
    };
    let samples = if samples == 0 && tokens == 0 { BATCH_SIZE_SAMPLES_DEFAULT as u32 } else { samples };
    Batch { max_context_length, tokens, samples }
}
