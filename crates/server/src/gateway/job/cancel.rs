//! `CancelSupervisedFineTuningJob`.

use hearth_domain::Wish;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Stops a job and keeps its record. Nothing happens to one that is cancelled already; other jobs at their end
/// are FAILED_PRECONDITION.
pub(in crate::gateway) async fn job_cancel(
    call: &Call,
    request: pb::CancelSupervisedFineTuningJobRequest,
) -> Result<(), ServerError> {
    let (account, id) = names::job("name", &request.name)?;
    call.caller.may_change(&account)?;
    let store = call.state.store();
    let stored = store.job_get(&account, &id).await?;
    store.job_wish(stored.key, Wish::Cancel, crate::now_ms()).await?;
    call.state.wake_scheduler();
    Ok(())
}
