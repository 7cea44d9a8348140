//! `PromoteSupervisedFineTuningJobCheckpoint`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn job_checkpoint_promote(
    call: &Call,
    request: pb::PromoteSupervisedFineTuningJobCheckpointRequest,
) -> Result<pb::PromoteSupervisedFineTuningJobCheckpointResponse, ServerError> {
    let account = names::checkpoint("name", &request.name)?.0;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented(
        "PromoteSupervisedFineTuningJobCheckpoint is not supported by this server yet".to_owned(),
    ))
}
