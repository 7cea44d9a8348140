//! `ResumeSupervisedFineTuningJob`.

use hearth_domain::{JobState, QuotaKind, Wish};
use hearth_proto::gateway as pb;
use hearth_store::StoreError;

use crate::error::ServerError;
use crate::gateway::{Call, names};
use crate::quota::must_have_room;

/// Queues a paused, failed, cancelled or expired job again; it goes on from its last checkpoint. Refused when its
/// output model exists or another job is making it, so that nothing is trained that could not be installed. A job that
/// was resumed already is answered as it is.
pub(in crate::gateway) async fn job_resume(
    call: &Call,
    request: pb::ResumeSupervisedFineTuningJobRequest,
) -> Result<pb::SupervisedFineTuningJob, ServerError> {
    let (account, id) = names::job("name", &request.name)?;
    call.caller.may_change(&account)?;
    let store = call.state.store();
    let _lock = call.state.account_lock(&account).await;
    let stored = store.job_get(&account, &id).await?;
    if stored.job.wish(Wish::Resume).map_err(StoreError::from)?.is_none() {
        return Ok(super::to_pb(call, &stored.job));
    }
    // One that is paused is open already, and its model is counted.
    if stored.job.state != JobState::Paused {
        must_have_room(&call.state, &account, QuotaKind::OpenSupervisedFineTuningJobs, 1).await?;
        must_have_room(&call.state, &account, QuotaKind::Models, 1).await?;
    }
    let resumed = store.job_wish(stored.key, Wish::Resume, crate::now_ms()).await;
    let job = resumed.map_err(|error| match error {
        StoreError::AlreadyExists { .. } => {
            ServerError::AlreadyExists(format!("{error}; the job can go on when that is gone"))
        }
        other => other.into(),
    })?;
    call.state.wake_scheduler();
    Ok(super::to_pb(call, &job))
}
