//! `EstimateSupervisedFineTuningJobCost`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn job_estimate_cost(
    call: &Call,
    request: pb::EstimateSupervisedFineTuningJobCostRequest,
) -> Result<pb::EstimateSupervisedFineTuningJobCostResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented(
        "EstimateSupervisedFineTuningJobCost is not supported by this server yet".to_owned(),
    ))
}
