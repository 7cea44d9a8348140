//! `ListSupervisedFineTuningJobCheckpoints`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_domain::Job;
use hearth_proto::gateway as pb;
use hearth_proto::gateway::training_checkpoint::CheckpointType;

use crate::error::ServerError;
use crate::gateway::time::timestamp;
use crate::gateway::{Call, names, total_size};
use crate::jobs::checkpoint::{Found, list};
use crate::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

/// Lists what the job's run directory holds now, the oldest first. A checkpoint may be gone a moment later.
pub(in crate::gateway) async fn job_checkpoint_list(
    call: &Call,
    request: pb::ListSupervisedFineTuningJobCheckpointsRequest,
) -> Result<pb::ListSupervisedFineTuningJobCheckpointsResponse, ServerError> {
    let (account, id) = names::job("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let size = match request.page_size {
        0 => PAGE_SIZE_DEFAULT,
        size if size < 0 => return Err(ServerError::field("pageSize", format!("{size} is below 0"))),
        size => size.min(PAGE_SIZE_MAX),
    };
    let stored = call.state.store().job_get(&account, &id).await?;
    let after = read_token(&request.page_token, stored.key)?;
    let (data_dir, job) = (call.state.data_dir().to_owned(), stored.job.clone());
    let all = tokio::task::spawn_blocking(move || list(&data_dir, &job))
        .await
        .map_err(|source| ServerError::internal("listing the checkpoints of a run", source))??;
    let total_size = total_size(all.len() as u64);
    let mut rest = all.into_iter().filter(|one| after.is_none_or(|after| place(one) > after));
    let page: Vec<Found> = rest.by_ref().take(size as usize).collect();
    let next = rest.next().and(page.last()).map(|last| write_token(place(last), stored.key));
    Ok(pb::ListSupervisedFineTuningJobCheckpointsResponse {
        checkpoints: page.iter().map(|one| to_pb(&stored.job, one)).collect(),
        next_page_token: next.unwrap_or_default(),
        total_size,
    })
}

/// What checkpoints are sorted by.
type Place = (bool, u64);

fn place(one: &Found) -> Place {
    (one.is_final(), one.step)
}

fn write_token((is_final, step): Place, job: i64) -> String {
    URL_SAFE_NO_PAD.encode(format!("{job}/{}/{step}", u8::from(is_final)))
}

/// A token belongs to its job.
fn read_token(token: &str, job: i64) -> Result<Option<Place>, ServerError> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (is_final, step) = text.strip_prefix(&format!("{job}/"))?.split_once('/')?;
        Some((is_final == "1", step.parse().ok()?))
    };
    let wrong = || ServerError::field("pageToken", "is not one of this list; leave it out to begin again");
    read().map(Some).ok_or_else(wrong)
}

fn to_pb(job: &Job, one: &Found) -> pb::TrainingCheckpoint {
    let kind = if one.is_final() { CheckpointType::InferenceLora } else { CheckpointType::TrainingLora };
    pb::TrainingCheckpoint {
        name: format!("{}/checkpoints/{}", job.name(), one.id),
        create_time: Some(timestamp(one.time_ms)),
        update_time: Some(timestamp(one.time_ms)),
        checkpoint_type: kind.into(),
        promotable: one.is_promotable(),
        step: i64::try_from(one.step).unwrap_or(i64::MAX),
    }
}
