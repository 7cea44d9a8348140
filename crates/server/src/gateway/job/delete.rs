//! `DeleteSupervisedFineTuningJob`.

use hearth_domain::JobEvent;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Hides a job at once; the scheduler stops its trainer and removes its run. The output model stays.
pub(in crate::gateway) async fn job_delete(
    call: &Call,
    request: pb::DeleteSupervisedFineTuningJobRequest,
) -> Result<(), ServerError> {
    let (account, id) = names::job("name", &request.name)?;
    call.caller.may_change(&account)?;
    let store = call.state.store();
    let stored = store.job_get(&account, &id).await?;
    store.job_transition(stored.key, None, &JobEvent::Delete, crate::now_ms()).await?;
    call.state.wake_scheduler();
    Ok(())
}
