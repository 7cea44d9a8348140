//! Supervised fine-tuning jobs.

pub(super) mod cancel;
pub(super) mod checkpoint_list;
pub(super) mod checkpoint_promote;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod estimate_cost;
mod event;
pub(super) mod event_list;
pub(crate) mod event_stream;
pub(super) mod get;
pub(super) mod list;
mod page;
pub(super) mod pause;
pub(in crate::gateway) mod request;
pub(super) mod resume;
mod storage;
mod template;

use hearth_domain::job::placement::PURPOSE_PILOT;
use hearth_domain::job::{ThinkingHistory, WandbSettings};
use hearth_domain::{Code, Estimate, Job, JobState, Money, Status};
use hearth_proto::gateway as pb;
use pb::supervised_fine_tuning_job::{Purpose, ThinkingTraceHistoryMode};

use super::time::timestamp;
use super::{Call, int, status_to_pb};
use crate::context::Face;

/// The record as clients see it. Its URLs are signed anew each time.
pub(super) fn to_pb(call: &Call, job: &Job) -> pb::SupervisedFineTuningJob {
    let settings = &job.settings;
    let int = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let long = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    let placement = &settings.placement;
    let purpose = if placement.is_pilot { Purpose::Pilot } else { Purpose::Unspecified };
    let reservation = |id: &String| format!("accounts/{}/reservations/{id}", job.account);
    let urls = crate::http::signed::run_urls(&call.state, &call.context, job);
    pb::SupervisedFineTuningJob {
        name: job.name(),
        display_name: settings.display_name.clone(),
        create_time: Some(timestamp(job.create_time_ms)),
        update_time: Some(timestamp(job.update_time_ms)),
        completed_time: job.completed_time_ms.map(timestamp),
        dataset: settings.dataset.to_string(),
        evaluation_dataset: settings.evaluation_dataset.as_ref().map(ToString::to_string).unwrap_or_default(),
        eval_auto_carveout: settings.eval_auto_carveout,
        early_stop: settings.early_stop,
        warm_start_from: settings.warm_start_from.as_ref().map(ToString::to_string).unwrap_or_default(),
        lr_scheduler: Some(request::lr_scheduler_to_pb(settings.lr_scheduler)),
        sampler_checkpoint_save_interval_steps: int(settings.sampler_checkpoint_save_interval_steps),
        state: state_to_pb(job.state, call.face).into(),
        status: Some(status_to_pb(&shown_status(job))),
        created_by: job.created_by.clone(),
        output_model: settings.output_model.to_string(),
        base_model: settings.base_model.to_string(),
        jinja_template: settings.jinja_template.clone().unwrap_or_default(),
        thinking_trace_history_mode: match settings.thinking_history {
            ThinkingHistory::OfTheTemplate => ThinkingTraceHistoryMode::Unspecified,
            ThinkingHistory::Interleaved => ThinkingTraceHistoryMode::Interleaved,
            ThinkingHistory::Preserved => ThinkingTraceHistoryMode::Preserved,
        }
        .into(),
        epochs: int(settings.epochs),
        learning_rate: settings.learning_rate,
        learning_rate_warmup_steps: int(settings.learning_rate_warmup_steps),
        optimizer_weight_decay: settings.optimizer_weight_decay,
        lora_rank: int(settings.lora_rank),
        max_context_length: int(settings.max_context_length),
        batch_size: int(settings.batch_size),
        batch_size_samples: int(settings.batch_size_samples),
        gradient_accumulation_steps: int(settings.gradient_accumulation_steps),
        nodes: 1,
        region: pb::Region::from_str_name(&placement.region).unwrap_or_default().into(),
        purpose: purpose.into(),
        use_purpose: if placement.is_pilot { PURPOSE_PILOT.to_owned() } else { String::new() },
        use_reservation: placement.reservation.is_some(),
        reservation_target: placement.reservation.as_ref().map(reservation).unwrap_or_default(),
        is_turbo: settings.is_turbo,
        aws_s3_config: settings.aws_s3_config.as_ref().map(storage::aws_to_pb),
        azure_blob_storage_config: settings.azure_blob_storage_config.as_ref().map(storage::azure_to_pb),
        job_progress: Some(pb::JobProgress {
            percent: int(job.progress.percent()),
            epoch: int(job.progress.epoch),
            total_input_requests: long(job.progress.rows),
            total_processed_requests: long(job.progress.samples),
            successfully_processed_requests: long(job.progress.samples),
            input_tokens: long(job.progress.tokens),
            ..Default::default()
        }),
        estimated_cost: job.estimate.known().map(|estimate| money_to_pb(&estimate.cost)),
        resource_estimate: job.estimate.known().map(resources_to_pb),
        wandb_config: settings.wandb.as_ref().map(wandb_to_pb),
        metrics_file_signed_url: urls.metrics,
        trainer_logs_signed_url: urls.log,
        ..Default::default()
    }
}

/// Why the job failed or rests; else what is to be known of its rows and its run.
fn shown_status(job: &Job) -> Status {
    if job.status == Status::default() {
        return Status::new(Code::Ok, job.note());
    }
    job.status.clone()
}

fn money_to_pb(money: &Money) -> hearth_proto::google::r#type::Money {
    hearth_proto::google::r#type::Money {
        currency_code: money.currency_code.clone(),
        units: money.units,
        nanos: money.nanos,
    }
}

fn resources_to_pb(estimate: &Estimate) -> pb::ResourceEstimate {
    pb::ResourceEstimate {
        seconds_low: estimate.seconds_low,
        seconds_high: estimate.seconds_high,
        memory_bytes_low: int(estimate.memory_bytes_low),
        memory_bytes_high: int(estimate.memory_bytes_high),
        least_memory_bytes: int(estimate.least_memory_bytes),
    }
}

/// Without the key, which never comes back.
fn wandb_to_pb(wandb: &WandbSettings) -> pb::WandbConfig {
    pb::WandbConfig {
        enabled: true,
        api_key: String::new(),
        project: wandb.project.clone(),
        entity: wandb.entity.clone(),
        run_id: wandb.run_id.clone(),
        url: wandb.url.clone(),
    }
}

/// Over gRPC only states that the older client knows.
fn state_to_pb(state: JobState, face: Face) -> pb::JobState {
    let state = match face {
        Face::Grpc => state.for_old_clients(),
        Face::Rest => state,
    };
    match state {
        JobState::Pending => pb::JobState::Pending,
        JobState::CreatingInputDataset => pb::JobState::CreatingInputDataset,
        JobState::Validating => pb::JobState::Validating,
        JobState::Running => pb::JobState::Running,
        JobState::WritingResults => pb::JobState::WritingResults,
        JobState::Completed => pb::JobState::Completed,
        JobState::EarlyStopped => pb::JobState::EarlyStopped,
        JobState::Failed => pb::JobState::Failed,
        JobState::Cancelled => pb::JobState::Cancelled,
        JobState::Expired => pb::JobState::Expired,
        JobState::Paused => pb::JobState::Paused,
        JobState::ReQueueing => pb::JobState::ReQueueing,
        JobState::Deleting => pb::JobState::Deleting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// fireworks-ai 0.19 raises on numbers above 19.
    #[test]
    fn grpc_shows_no_new_states() {
        for state in JobState::ALL {
            let number = state_to_pb(*state, Face::Grpc) as i32;
            assert!((1..=19).contains(&number), "{state} is {number}");
            let shown = state_to_pb(*state, Face::Rest).as_str_name();
            assert_eq!(shown, format!("JOB_STATE_{}", state.name()));
        }
    }
}
