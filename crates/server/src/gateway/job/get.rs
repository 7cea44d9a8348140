//! `GetSupervisedFineTuningJob`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};

/// Reads a job. A deleted one is not there, even while its run is being stopped.
pub(in crate::gateway) async fn job_get(
    call: &Call,
    request: pb::GetSupervisedFineTuningJobRequest,
) -> Result<pb::SupervisedFineTuningJob, ServerError> {
    let (account, id) = names::job("name", &request.name)?;
    call.caller.may_read(&account)?;
    let stored = call.state.store().job_get(&account, &id).await?;
    mask::apply("SupervisedFineTuningJob", super::to_pb(call, &stored.job), request.read_mask.as_ref())
}
