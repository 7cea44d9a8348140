//! What a job may ask for, and what it gets when it does not ask: validation and defaults in one place.
//!
//! [`JobRequest`] and [`JobFacts`] go in, [`JobSettings`] or [`Violations`] come out. `names` checks the resources that a
//! request names, `training` the numbers, `placement` where it runs, `storage` what opens datasets that lie
//! elsewhere, `mtp` what is not built yet.

mod check;
mod mtp;
mod names;
pub mod placement;
mod request;
mod settings;
mod storage;
mod training;
mod wandb;

pub use check::{FieldViolation, Violations};
pub use mtp::MTP_NUM_DRAFT_TOKENS_MAX;
pub use placement::{Placement, PlacementFacts, PlacementRequest};
pub use request::{AdapterSettings, JobFacts, JobRequest, SUPPORTED_FIELDS, WarmStart};
pub use settings::{JobSettings, LrScheduler, ThinkingHistory};
pub use storage::{AwsS3Config, AwsS3Request, AzureConfig, AzureRequest, SecretFact, StorageFacts};
pub use training::*;
pub use wandb::{WandbRequest, WandbSettings};

use check::Checker;

use crate::code::Code;

/// Longest display name, in characters.
pub const DISPLAY_NAME_MAX_CHARS: usize = 63;
/// Longest chat template, in bytes.
pub const JINJA_TEMPLATE_MAX_BYTES: usize = 1 << 20;

/// Checks a request against the rules and the facts and fills in every default. Reports all violations at once.
pub fn resolve(request: &JobRequest, facts: &JobFacts) -> Result<JobSettings, Violations> {
    let mut check = Checker::default();
    texts(&mut check, request);
    let dataset = names::dataset(&mut check, "dataset", &request.dataset, facts.dataset.as_ref());
    let evaluation = facts.evaluation_dataset.as_ref();
    let evaluation_dataset =
        names::dataset(&mut check, "evaluationDataset", &request.evaluation_dataset, evaluation);
    names::evaluation(&mut check, request, facts);
    let base = names::base(&mut check, request, facts);
    let adapter = base.as_ref().and_then(|base| base.adapter.clone());
    let output_model = names::output_model(&mut check, request, facts);
    let batch =
        training::batch(&mut check, request, base.as_ref().map_or(i32::MAX, |base| base.context_length));
    let mut numbers = training::numbers(&mut check, request, adapter.as_ref());
    let is_carved_out = request.eval_auto_carveout && request.evaluation_dataset.is_empty();
    let steps = training::steps(&numbers, &batch, facts.dataset.as_ref(), is_carved_out);
    training::warmup(&mut check, &numbers, &batch, steps);
    let lr_scheduler = training::lr_scheduler(&mut check, request.lr_scheduler);
    let sampler_checkpoint_save_interval_steps =
        training::sampler_checkpoints(&mut check, request, &batch, steps);
    if numbers.learning_rate == 0.0 {
        let weights = base.as_ref().map_or(0, |base| base.parameter_count);
        numbers.learning_rate = training::rate_by_default(weights, numbers.lora_rank, steps);
    }
    let placement = placement::placement(&mut check, request, facts);
    let aws_s3_config = storage::aws(&mut check, request, facts);
    let azure_blob_storage_config = storage::azure(&mut check, request, facts);
    mtp::check(&mut check, request);
    let wandb = wandb::check(&mut check, request);
    not_built(&mut check, request);
    if let (Some(dataset), Some(base), true) = (dataset, base, check.0.is_empty()) {
        return Ok(JobSettings {
            display_name: request.display_name.clone(),
            dataset,
            eval_auto_carveout: is_carved_out,
            evaluation_dataset,
            early_stop: request.early_stop,
            base_model: base.name,
            warm_start_from: base.warm_start_from,
            output_model,
            jinja_template: Some(request.jinja_template.clone()).filter(|template| !template.is_empty()),
            thinking_history: request.thinking_history,
            epochs: numbers.epochs,
            learning_rate: numbers.learning_rate,
            learning_rate_warmup_steps: numbers.learning_rate_warmup_steps,
            lr_scheduler,
            optimizer_weight_decay: numbers.optimizer_weight_decay,
            lora_rank: numbers.lora_rank,
            lora_alpha: match &adapter {
                Some(adapter) => adapter.alpha,
                None => (numbers.lora_rank * LORA_ALPHA_PER_RANK as u32) as f32,
            },
            target_modules: adapter.map(|adapter| adapter.target_modules).unwrap_or_default(),
            max_context_length: batch.max_context_length,
            batch_size: batch.tokens,
            batch_size_samples: batch.samples,
            gradient_accumulation_steps: numbers.gradient_accumulation_steps,
            sampler_checkpoint_save_interval_steps,
            is_turbo: request.is_turbo,
            placement,
            aws_s3_config,
            azure_blob_storage_config,
            wandb,
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

/// Fields that ask for something that this server does not do are refused, never ignored.
fn not_built(check: &mut Checker, request: &JobRequest) {
    for field in &request.other_fields {
        check.add(Code::Unimplemented, field, "this server does not support this field yet; leave it out");
    }
}

#[cfg(test)]
mod tests;
