//! `ListSupervisedFineTuningJobCheckpoints`.

use hearth_domain::Job;
use hearth_proto::gateway as pb;
use hearth_proto::gateway::training_checkpoint::CheckpointType;

use super::page::{Place, page_size};
use crate::error::ServerError;
use crate::gateway::time::timestamp;
use crate::gateway::{Call, int, names, total_size};
use crate::jobs::checkpoint::{Found, list};

/// Lists what the job's run directory holds now, the oldest first. A checkpoint may be gone a moment later.
pub(in crate::gateway) async fn job_checkpoint_list(
    call: &Call,
    request: pb::ListSupervisedFineTuningJobCheckpointsRequest,
) -> Result<pb::ListSupervisedFineTuningJobCheckpointsResponse, ServerError> {
    let (account, id) = names::job("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let size = page_size(request.page_size)?;
    let stored = call.state.store().job_get(&account, &id).await?;
    let after = Place::of_token(&request.page_token, stored.key)?;
    let (data_dir, job) = (call.state.data_dir().to_owned(), stored.job.clone());
    let all = tokio::task::spawn_blocking(move || list(&data_dir, &job))
        .await
        .map_err(|source| ServerError::internal("listing the checkpoints of a run", source))??;
    let total_size = total_size(all.len() as u64);
    let mut rest = all.into_iter().filter(|one| after.is_none_or(|after| place(one) > after));
    let page: Vec<Found> = rest.by_ref().take(size as usize).collect();
    let next = rest.next().and(page.last()).map(|last| place(last).token(stored.key));
    Ok(pb::ListSupervisedFineTuningJobCheckpointsResponse {
        checkpoints: page.iter().map(|one| to_pb(&stored.job, one)).collect(),
        next_page_token: next.unwrap_or_default(),
        total_size,
    })
}

/// What checkpoints are sorted by: the final one comes last.
fn place(one: &Found) -> Place {
    Place { choice: one.is_final(), number: one.step }
}

fn to_pb(job: &Job, one: &Found) -> pb::TrainingCheckpoint {
    let kind = if one.is_final() { CheckpointType::InferenceLora } else { CheckpointType::TrainingLora };
    pb::TrainingCheckpoint {
        name: format!("{}/checkpoints/{}", job.name(), one.id),
        create_time: Some(timestamp(one.time_ms)),
        update_time: Some(timestamp(one.time_ms)),
        checkpoint_type: kind.into(),
        promotable: one.is_promotable(),
        step: int(one.step),
    }
}
