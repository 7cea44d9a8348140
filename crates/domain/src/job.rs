//! What a job may ask for, and what it gets when it does not ask: validation and defaults in one place.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::dataset::{Dataset, DatasetFormat, DatasetState};
use crate::id::{AccountId, DatasetRef, JobId, ModelId, ModelRef};
use crate::record::{Model, ModelKind};

/// Longest display name, in characters.
pub const DISPLAY_NAME_MAX_CHARS: usize = 63;
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
/// Bytes of JSONL that make about one token, to guess the steps of a job whose batches are counted in tokens.
const BYTES_PER_TOKEN: u64 = 4;
/// Weight decay when not given.
pub const WEIGHT_DECAY_DEFAULT: f32 = 0.01;
/// Highest weight decay.
pub const WEIGHT_DECAY_MAX: f32 = 1.0;
/// Longest chat template, in bytes.
pub const JINJA_TEMPLATE_MAX_BYTES: usize = 1 << 20;

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

/// Fields of the API's job that [`JobRequest`] has, by their JSON names.
pub const SUPPORTED_FIELDS: &[&str] = &[
    "displayName",
    "dataset",
    "evaluationDataset",
    "baseModel",
    "outputModel",
    "jinjaTemplate",
    "epochs",
    "learningRate",
    "learningRateWarmupSteps",
    "optimizerWeightDecay",
    "loraRank",
    "maxContextLength",
    "batchSize",
    "batchSizeSamples",
    "gradientAccumulationSteps",
    "nodes",
    "isTurbo",
];

/// What a client asks for. Zero and empty mean "not given".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobRequest {
    /// For people.
    pub display_name: String,
    /// As the client wrote it; [`JobFacts::dataset`] is what it names.
    pub dataset: String,
    /// As the client wrote it; [`JobFacts::evaluation_dataset`] is what it names.
    pub evaluation_dataset: String,
    /// As the client wrote it; [`JobFacts::base_model`] is what it names.
    pub base_model: String,
    /// Id or full name in the job's own account.
    pub output_model: String,
    /// Chat template in place of the model's own.
    pub jinja_template: String,
    /// Passes over the rows.
    pub epochs: i32,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Steps of linear warm-up.
    pub learning_rate_warmup_steps: i32,
    /// Decoupled weight decay.
    pub optimizer_weight_decay: f32,
    /// Rank of the adapter.
    pub lora_rank: i32,
    /// Longest sample, in tokens.
    pub max_context_length: i32,
    /// Tokens of one packed batch.
    pub batch_size: i32,
    /// Samples of one batch.
    pub batch_size_samples: i32,
    /// Batches of one optimiser step.
    pub gradient_accumulation_steps: i32,
    /// Machines.
    pub nodes: i32,
    /// Whether products with the base's weights may round to 8-bit integers, which is faster.
    pub is_turbo: bool,
    /// JSON names of all other fields that the client set, without those that only the server writes.
    pub other_fields: Vec<String>,
}

/// What the server found out about the things that a request names.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// Owner of the job.
    pub account: AccountId,
    /// Id of the job.
    pub job: JobId,
    /// `None`: there is no such dataset.
    pub dataset: Option<Dataset>,
    /// `None`: there is no such dataset, or none is named.
    pub evaluation_dataset: Option<Dataset>,
    /// `None`: there is no such model, or none is named.
    pub base_model: Option<Model>,
}

/// Every setting of a job, with defaults filled in: what the API returns and what the trainer gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSettings {
    /// For people.
    pub display_name: String,
    /// Rows to train on.
    pub dataset: DatasetRef,
    /// Rows to evaluate on.
    pub evaluation_dataset: Option<DatasetRef>,
    /// Model to adapt.
    pub base_model: ModelRef,
    /// Model to make.
    pub output_model: ModelRef,
    /// Chat template in place of the model's own.
    pub jinja_template: Option<String>,
    /// Passes over the rows.
    pub epochs: u32,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Steps of linear warm-up; 0 is none.
    pub learning_rate_warmup_steps: u32,
    /// Decoupled weight decay.
    pub optimizer_weight_decay: f32,
    /// Rank of the adapter.
    pub lora_rank: u32,
    /// The adapter is scaled by `lora_alpha / lora_rank`.
    pub lora_alpha: u32,
    /// Longest sample, in tokens.
    pub max_context_length: u32,
    /// Tokens of one packed batch; 0 when `batch_size_samples` decides.
    pub batch_size: u32,
    /// Samples of one batch; 0 when `batch_size` decides.
    pub batch_size_samples: u32,
    /// Batches of one optimiser step.
    pub gradient_accumulation_steps: u32,
    /// Whether products with the base's weights round to 8-bit integers.
    #[serde(default)]
    pub is_turbo: bool,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// JSON name of the field.
    pub field: String,
    /// Class.
    pub code: Code,
    /// What is wrong with it and what is allowed.
    pub message: String,
}

/// All that is wrong with a request; at least one thing. Wrong values come before things that are not built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations(Vec<FieldViolation>);

impl Violations {
    /// Each of them.
    pub fn list(&self) -> &[FieldViolation] {
        &self.0
    }

    /// Class of the first one.
    pub fn code(&self) -> Code {
        self.0[0].code
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", violation.field, violation.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// Collects violations while the fields are looked at.
#[derive(Default)]
struct Checker(Vec<FieldViolation>);

impl Checker {
    fn add(&mut self, code: Code, field: &str, message: impl Into<String>) {
        self.0.push(FieldViolation { field: field.to_owned(), code, message: message.into() });
    }

    /// `value` if it is in 1..=max, `default` if it is 0; a violation otherwise.
    fn whole(&mut self, field: &str, value: i32, max: i32, default: i32) -> u32 {
        if !(0..=max).contains(&value) {
            self.add(
                Code::InvalidArgument,
                field,
                format!("{value} is not between 0 and {max} (0 is the default)"),
            );
            return default as u32;
        }
        (if value == 0 { default } else { value }) as u32
    }

    /// `value` if it is in (0, max], `default` if it is 0; a violation otherwise, NaN included.
    fn real(&mut self, field: &str, value: f32, max: f32, default: f32) -> f32 {
        if !(0.0..=max).contains(&value) {
            self.add(
                Code::InvalidArgument,
                field,
                format!("{value} is not between 0 and {max} (0 is the default)"),
            );
            return default;
        }
        if value == 0.0 { default } else { value }
    }
}

/// Checks a request against the rules and the facts and fills in every default. Reports all violations at once.
pub fn resolve(request: &JobRequest, facts: &JobFacts) -> Result<JobSettings, Violations> {
    let mut check = Checker::default();
    texts(&mut check, request);
    let dataset = dataset(&mut check, "dataset", &request.dataset, facts.dataset.as_ref());
    let evaluation = facts.evaluation_dataset.as_ref();
    let evaluation_dataset =
        self::dataset(&mut check, "evaluationDataset", &request.evaluation_dataset, evaluation);
    let base = base_model(&mut check, request, facts);
    let output_model = output_model(&mut check, request, facts);
    let batch = batch(&mut check, request, base.as_ref().map_or(i32::MAX, |base| base.context_length));
    let mut numbers = numbers(&mut check, request);
    if numbers.learning_rate == 0.0 {
        let weights = base.as_ref().map_or(0, |base| base.parameter_count);
        let steps = steps(&numbers, &batch, facts.dataset.as_ref());
        numbers.learning_rate = learning_rate_default(weights, numbers.lora_rank, steps);
    }
    not_built(&mut check, request);
    if let (Some(dataset), Some(base), true) = (dataset, base, check.0.is_empty()) {
        return Ok(JobSettings {
            display_name: request.display_name.clone(),
            dataset,
            evaluation_dataset,
            base_model: base.name,
            output_model,
            jinja_template: Some(request.jinja_template.clone()).filter(|template| !template.is_empty()),
            epochs: numbers.epochs,
            learning_rate: numbers.learning_rate,
            learning_rate_warmup_steps: numbers.learning_rate_warmup_steps,
            optimizer_weight_decay: numbers.optimizer_weight_decay,
            lora_rank: numbers.lora_rank,
            lora_alpha: numbers.lora_rank * LORA_ALPHA_PER_RANK as u32,
            max_context_length: batch.max_context_length,
            batch_size: batch.tokens,
            batch_size_samples: batch.samples,
            gradient_accumulation_steps: numbers.gradient_accumulation_steps,
            is_turbo: request.is_turbo,
        });
    }
    assert!(!check.0.is_empty(), "a dataset or a base that is missing is a violation");
    check.0.sort_by_key(|violation| violation.code == Code::Unimplemented);
    Err(Violations(check.0))
}

fn texts(check: &mut Checker, request: &JobRequest) {
    if request.display_name.chars().count() > DISPLAY_NAME_MAX_CHARS {
        let message = format!("is longer than {DISPLAY_NAME_MAX_CHARS} characters");
        check.add(Code::InvalidArgument, "displayName", message);
    }
    if request.jinja_template.len() > JINJA_TEMPLATE_MAX_BYTES {
        let message = format!("is longer than {JINJA_TEMPLATE_MAX_BYTES} bytes");
        check.add(Code::InvalidArgument, "jinjaTemplate", message);
    }
    if request.dataset.is_empty() {
        check.add(Code::InvalidArgument, "dataset", "is required");
    }
}

/// Settings that do not depend on the model or the dataset, but for the learning rate's default.
struct Numbers {
    epochs: u32,
    /// 0 when not given.
    learning_rate: f32,
    learning_rate_warmup_steps: u32,
    optimizer_weight_decay: f32,
    lora_rank: u32,
    gradient_accumulation_steps: u32,
}

fn numbers(check: &mut Checker, request: &JobRequest) -> Numbers {
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
        lora_rank: check.whole("loraRank", request.lora_rank, LORA_RANK_MAX, LORA_RANK_DEFAULT),
        gradient_accumulation_steps: check.whole(
            "gradientAccumulationSteps",
            accumulation,
            GRADIENT_ACCUMULATION_STEPS_MAX,
            1,
        ),
    }
}

/// Optimiser steps of the whole job. Exact when batches are counted in samples; when they are counted in tokens, from
/// the size of the files.
fn steps(numbers: &Numbers, batch: &Batch, dataset: Option<&Dataset>) -> u64 {
    let Some(dataset) = dataset else { return 1 };
    let batches = match batch.samples {
        0 => {
            let bytes: u64 = dataset.files.iter().map(|file| file.size_bytes).sum();
            (bytes / BYTES_PER_TOKEN).div_ceil(u64::from(batch.tokens.max(1)))
        }
        samples => dataset.example_count.div_ceil(u64::from(samples)),
    };
    batches.div_ceil(u64::from(numbers.gradient_accumulation_steps)) * u64::from(numbers.epochs)
}

/// Fields that ask for something that this server does not do are refused, never ignored.
fn not_built(check: &mut Checker, request: &JobRequest) {
    if request.nodes < 0 {
        check.add(Code::InvalidArgument, "nodes", format!("{} is below 0", request.nodes));
    } else if request.nodes > 1 {
        check.add(Code::Unimplemented, "nodes", "this server trains on one node");
    }
    for field in &request.other_fields {
        check.add(Code::Unimplemented, field, "this server does not support this field yet; leave it out");
    }
}

/// The dataset that a field names, if it can be trained on.
fn dataset(check: &mut Checker, field: &str, name: &str, found: Option<&Dataset>) -> Option<DatasetRef> {
    if name.is_empty() {
        return None;
    }
    let Some(dataset) = found else {
        check.add(Code::NotFound, field, format!("there is no dataset {name}"));
        return None;
    };
    if dataset.state != DatasetState::Ready {
        check.add(
            Code::FailedPrecondition,
            field,
            format!("dataset {name} is not READY; upload its files and call validateUpload first"),
        );
    } else if dataset.format == DatasetFormat::Rl {
        check.add(
            Code::InvalidArgument,
            field,
            format!("dataset {name} has format RL; rows need messages, or prompt and completion"),
        );
    }
    Some(dataset.name())
}

/// What the other settings need to know of the base.
struct Base {
    name: ModelRef,
    parameter_count: u64,
    context_length: i32,
}

fn base_model(check: &mut Checker, request: &JobRequest, facts: &JobFacts) -> Option<Base> {
    let warm_start = request.other_fields.iter().any(|field| field == "warmStartFrom");
    if request.base_model.is_empty() {
        if !warm_start {
            check.add(
                Code::InvalidArgument,
                "baseModel",
                "exactly one of baseModel and warmStartFrom must be given, and neither is",
            );
        }
        return None;
    }
    if warm_start {
        check.add(
            Code::InvalidArgument,
            "baseModel",
            "exactly one of baseModel and warmStartFrom must be given, and both are",
        );
    }
    let name = &request.base_model;
    let Some(model) = &facts.base_model else {
        check.add(Code::NotFound, "baseModel", format!("there is no model {name}"));
        return None;
    };
    if model.upload.is_some() {
        let what = format!("model {name} is being uploaded; call validateUpload when all files are there");
        check.add(Code::FailedPrecondition, "baseModel", what);
        return None;
    }
    let ModelKind::Base { parameter_count } = model.kind else {
        check.add(
            Code::InvalidArgument,
            "baseModel",
            format!("model {name} is an adapter, not a base model"),
        );
        return None;
    };
    let context_length = i32::try_from(model.context_length).unwrap_or(i32::MAX);
    Some(Base { name: model.name(), parameter_count, context_length })
}

/// The model to make: an id or a full name in the job's account; the job's id when not given.
fn output_model(check: &mut Checker, request: &JobRequest, facts: &JobFacts) -> ModelRef {
    let text = request.output_model.as_str();
    let own = format!("accounts/{}/models/", facts.account);
    let id = match text.strip_prefix(&own) {
        // The 0.19 client turns an empty id into a name without one.
        Some("") => "",
        Some(id) => id,
        None => text,
    };
    let by_default =
        ModelId::new(facts.job.as_str()).expect("the rules of job ids and model ids are the same");
    let id = if id.is_empty() {
        by_default
    } else if id.contains('/') {
        check.add(
            Code::InvalidArgument,
            "outputModel",
            format!("{text:?} is neither a model id nor a name that begins with {own}"),
        );
        by_default
    } else {
        ModelId::new(id).unwrap_or_else(|error| {
            check.add(Code::InvalidArgument, "outputModel", error.to_string());
            by_default
        })
    };
    ModelRef { account: facts.account.clone(), id }
}

struct Batch {
    max_context_length: u32,
    tokens: u32,
    samples: u32,
}

/// `maxContextLength`, `batchSize` and `batchSizeSamples` depend on each other:
/// - `maxContextLength` is by default the model's, and never above it nor above a given `batchSize`;
/// - `batchSizeSamples` decides when given; else `batchSize` when given; else eight samples.
fn batch(check: &mut Checker, request: &JobRequest, model_context: i32) -> Batch {
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

#[cfg(test)]
mod tests;
