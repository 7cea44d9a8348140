//! Batch inference jobs.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;

use hearth_domain::{BatchInferenceJob, BatchState};
use hearth_proto::gateway as pb;

use super::status_to_pb;
use super::time::timestamp;

/// The record as clients see it.
fn to_pb(job: &BatchInferenceJob) -> pb::BatchInferenceJob {
    let count = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    let (parameters, progress) = (&job.parameters, &job.progress);
    pb::BatchInferenceJob {
        name: job.name(),
        display_name: job.display_name.clone(),
        create_time: Some(timestamp(job.create_time_ms)),
        update_time: Some(timestamp(job.update_time_ms)),
        created_by: job.created_by.clone(),
        state: state_to_pb(job.state).into(),
        status: Some(status_to_pb(&job.status)),
        model: job.model.to_string(),
        input_dataset_id: job.input.to_string(),
        output_dataset_id: job.output.to_string(),
        inference_parameters: Some(pb::InferenceParameters {
            max_tokens: parameters.max_tokens,
            temperature: parameters.temperature,
            top_p: parameters.top_p,
            n: parameters.n,
            extra_body: parameters.extra_body.clone(),
            top_k: parameters.top_k,
        }),
        job_progress: Some(pb::JobProgress {
            percent: count(progress.percent().into()),
            total_input_requests: count(progress.total),
            total_processed_requests: count(progress.processed()),
            successfully_processed_requests: count(progress.succeeded),
            failed_requests: count(progress.failed),
            output_rows: count(progress.succeeded),
            input_tokens: count(progress.input_tokens),
            output_tokens: count(progress.output_tokens),
            ..Default::default()
        }),
        continued_from_job_name: job.continued_from.clone(),
        ..Default::default()
    }
}

fn state_to_pb(state: BatchState) -> pb::JobState {
    match state {
        BatchState::Pending => pb::JobState::Pending,
        BatchState::Running => pb::JobState::Running,
        BatchState::WritingResults => pb::JobState::WritingResults,
        BatchState::Completed => pb::JobState::Completed,
        BatchState::Failed => pb::JobState::Failed,
    }
}
