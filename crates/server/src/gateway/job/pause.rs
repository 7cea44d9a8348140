//! `PauseSupervisedFineTuningJob`.

use hearth_domain::Wish;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Lets a job rest that waits or runs: its trainer writes a checkpoint and ends. Nothing happens to one that is paused
/// already; jobs at their end are FAILED_PRECONDITION.
pub(in crate::gateway) async fn job_pause(
    call: &Call,
    request: pb::PauseSupervisedFineTuningJobRequest,
) -> Result<pb::SupervisedFineTuningJob, ServerError> {
    let (account, id) = names::job("name", &request.name)?;
    call.caller.may_change(&account)?;
    let store = call.state.store();
    let stored = store.job_get(&account, &id).await?;
    let job = store.job_wish(stored.key, Wish::Pause, crate::now_ms()).await?;
    call.state.wake_scheduler();
    Ok(super::to_pb(call, &job))
}
