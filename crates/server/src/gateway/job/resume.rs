//! `ResumeSupervisedFineTuningJob`.

use hearth_domain::{Code, JobEvent, JobState, QuotaKind};
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};
use crate::quota::must_have_room;

/// Queues a paused, failed or cancelled job again; it goes on from its last checkpoint. Refused when its output
/// model exists, so that nothing is trained that could not be installed.
pub(in crate::gateway) async fn job_resume(
    call: &Call,
    request: pb::ResumeSupervisedFineTuningJobRequest,
) -> Result<pb::SupervisedFineTuningJob, ServerError> {
    let (account, id) = names::job("name", &request.name)?;
    call.caller.may_change(&account)?;
    let store = call.state.store();
    let stored = store.job_get(&account, &id).await?;
    let output = &stored.job.settings.output_model;
    match store.model_get(output).await {
        Err(error) if error.code() == Code::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(_) => {
            return Err(ServerError::AlreadyExists(format!(
                "the job's output model {output} exists; delete it to let the job go on"
            )));
        }
    }
    let _lock = call.state.account_lock(&account).await;
    // One that is paused is open already, and its model is counted.
    if stored.job.state != JobState::Paused {
        must_have_room(&call.state, &account, QuotaKind::OpenSupervisedFineTuningJobs, 1).await?;
        must_have_room(&call.state, &account, QuotaKind::Models, 1).await?;
    }
    let job = store.job_transition(stored.key, None, &JobEvent::Resume, crate::now_ms()).await?;
    call.state.wake_scheduler();
    Ok(super::to_pb(call, &job))
}
