//! What a client asks for in a job, as `domain` wants to hear it.

use hearth_domain::JobRequest;
use hearth_domain::job::{
    AwsS3Request, AzureRequest, LrScheduler, PlacementRequest, SUPPORTED_FIELDS, ThinkingHistory,
    WandbRequest,
};
use hearth_proto::gateway as pb;
use pb::learning_rate_scheduler::{self as wire, Schedule};
use pb::supervised_fine_tuning_job::{Purpose, ThinkingTraceHistoryMode};
use secrecy::SecretString;

use crate::error::ServerError;
use crate::gateway::given;
use crate::limits::WANDB_KEY_MAX_BYTES;

/// The fields that this server acts on, and the names of all others that the client set.
pub(super) fn from_pb(job: pb::SupervisedFineTuningJob) -> Result<JobRequest, ServerError> {
    let other_fields = given::other_fields("SupervisedFineTuningJob", &job, SUPPORTED_FIELDS)?;
    let placement = PlacementRequest {
        nodes: job.nodes,
        region: enum_name(job.region, |one: pb::Region| one.as_str_name()),
        accelerator_type: enum_name(job.accelerator_type, |one: pb::AcceleratorType| one.as_str_name()),
        accelerator_count: job.accelerator_count,
        is_pilot: job.purpose == Purpose::Pilot as i32,
        use_purpose: match Purpose::try_from(job.purpose) {
            Ok(_) => job.use_purpose.clone(),
            Err(_) => enum_name(job.purpose, |one: Purpose| one.as_str_name()),
        },
        use_reservation: job.use_reservation,
        reservation_target: job.reservation_target.clone(),
    };
    let wandb = job.wandb_config.unwrap_or_default();
    Ok(JobRequest {
        display_name: job.display_name,
        dataset: job.dataset,
        evaluation_dataset: job.evaluation_dataset,
        eval_auto_carveout: job.eval_auto_carveout,
        base_model: job.base_model,
        warm_start_from: job.warm_start_from,
        early_stop: job.early_stop,
        output_model: job.output_model,
        jinja_template: job.jinja_template,
        thinking_history: thinking_history(job.thinking_trace_history_mode)?,
        epochs: job.epochs,
        learning_rate: job.learning_rate,
        learning_rate_warmup_steps: job.learning_rate_warmup_steps,
        lr_scheduler: lr_scheduler(job.lr_scheduler),
        optimizer_weight_decay: job.optimizer_weight_decay,
        lora_rank: job.lora_rank,
        max_context_length: job.max_context_length,
        batch_size: job.batch_size,
        batch_size_samples: job.batch_size_samples,
        gradient_accumulation_steps: job.gradient_accumulation_steps,
        placement,
        sampler_checkpoint_save_interval_steps: job.sampler_checkpoint_save_interval_steps,
        is_turbo: job.is_turbo,
        aws_s3_config: job.aws_s3_config.map(aws_s3_config).filter(|given| *given != AwsS3Request::default()),
        azure_blob_storage_config: job
            .azure_blob_storage_config
            .map(azure_config)
            .filter(|given| *given != AzureRequest::default()),
        mtp_enabled: job.mtp_enabled,
        mtp_num_draft_tokens: job.mtp_num_draft_tokens,
        mtp_freeze_base_model: job.mtp_freeze_base_model,
        wandb: WandbRequest {
            enabled: wandb.enabled,
            has_api_key: !wandb.api_key.is_empty(),
            project: wandb.project,
            entity: wandb.entity,
            run_id: wandb.run_id,
        },
        other_fields,
    })
}

/// The name of an enum's value, empty for zero, which nobody needs to say. A number without a name is its own, so that it
/// is refused by those who look for names.
fn enum_name<E: TryFrom<i32>>(number: i32, name: fn(E) -> &'static str) -> String {
    match (number, E::try_from(number)) {
        (0, _) => String::new(),
        (_, Ok(value)) => name(value).to_owned(),
        (number, Err(_)) => number.to_string(),
    }
}

fn aws_s3_config(given: pb::AwsS3Config) -> AwsS3Request {
    AwsS3Request { credentials_secret: given.credentials_secret, iam_role_arn: given.iam_role_arn }
}

fn azure_config(given: pb::AzureBlobStorageConfig) -> AzureRequest {
    AzureRequest {
        credentials_secret: given.credentials_secret,
        managed_identity_client_id: given.managed_identity_client_id,
        tenant_id: given.tenant_id,
    }
}

/// The key that a job's metrics are to be sent to Weights & Biases with.
pub(super) fn wandb_key(job: &pb::SupervisedFineTuningJob) -> Result<Option<SecretString>, ServerError> {
    let key = job.wandb_config.as_ref().map(|wandb| wandb.api_key.as_str()).filter(|key| !key.is_empty());
    let wrong = |what: String| Err(ServerError::field("wandbConfig.apiKey", what));
    match key {
        Some(key) if key.len() > WANDB_KEY_MAX_BYTES => {
            wrong(format!("is longer than {WANDB_KEY_MAX_BYTES} bytes"))
        }
        Some(key) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            wrong("has a character that no key has: only visible ones of ASCII are allowed".to_owned())
        }
        key => Ok(key.map(SecretString::from)),
    }
}

/// Constant if none is chosen.
fn lr_scheduler(given: Option<pb::LearningRateScheduler>) -> LrScheduler {
    match given.and_then(|given| given.schedule) {
        None | Some(Schedule::Constant(_)) => LrScheduler::Constant,
        Some(Schedule::Linear(_)) => LrScheduler::Linear,
        Some(Schedule::Cosine(cosine)) => {
            LrScheduler::Cosine { min_lr_ratio: cosine.min_lr_ratio, decay_ratio: cosine.decay_ratio }
        }
    }
}

/// As clients see it.
pub(super) fn lr_scheduler_to_pb(chosen: LrScheduler) -> pb::LearningRateScheduler {
    let schedule = match chosen {
        LrScheduler::Constant => Schedule::Constant(wire::Constant {}),
        LrScheduler::Linear => Schedule::Linear(wire::Linear {}),
        LrScheduler::Cosine { min_lr_ratio, decay_ratio } => {
            Schedule::Cosine(wire::Cosine { min_lr_ratio, decay_ratio })
        }
    };
    pb::LearningRateScheduler { schedule: Some(schedule) }
}

/// What becomes of the thoughts of earlier answers.
pub(in crate::gateway) fn thinking_history(mode: i32) -> Result<ThinkingHistory, ServerError> {
    match ThinkingTraceHistoryMode::try_from(mode) {
        Ok(ThinkingTraceHistoryMode::Unspecified) => Ok(ThinkingHistory::OfTheTemplate),
        Ok(ThinkingTraceHistoryMode::Interleaved) => Ok(ThinkingHistory::Interleaved),
        Ok(ThinkingTraceHistoryMode::Preserved) => Ok(ThinkingHistory::Preserved),
        Err(_) => Err(ServerError::field("thinkingTraceHistoryMode", "has no such value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each name in the list of `domain` is a field of the wire's job, or it would be checked in vain.
    #[test]
    fn lists_name_fields() {
        let pool = hearth_proto::descriptor_pool();
        let desc = pool.get_message_by_name("gateway.SupervisedFineTuningJob").unwrap();
        for name in SUPPORTED_FIELDS {
            assert!(desc.get_field_by_json_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn fields_not_acted_on_are_named() {
        let job = pb::SupervisedFineTuningJob {
            name: "ignored".to_owned(),
            dataset: "d".to_owned(),
            custom_image_tag: "x".to_owned(),
            wandb_config: Some(pb::WandbConfig::default()),
            aws_s3_config: Some(pb::AwsS3Config { iam_role_arn: "r".to_owned(), ..Default::default() }),
            azure_blob_storage_config: Some(pb::AzureBlobStorageConfig::default()),
            extra_args: vec!["x".to_owned()],
            ..Default::default()
        };
        let request = from_pb(job).unwrap();
        assert_eq!(request.other_fields, ["customImageTag", "extraArgs"]);
        assert_eq!(request.aws_s3_config.unwrap().iam_role_arn, "r");
        assert_eq!(request.azure_blob_storage_config, None);
        assert_eq!(request.dataset, "d");
    }
}
