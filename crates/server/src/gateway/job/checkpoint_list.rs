//! `ListSupervisedFineTuningJobCheckpoints`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn job_checkpoint_list(
    call: &Call,
    request: pb::ListSupervisedFineTuningJobCheckpointsRequest,
) -> Result<pb::ListSupervisedFineTuningJobCheckpointsResponse, ServerError> {
    let account = names::job("parent", &request.parent)?.0;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented(
        "ListSupervisedFineTuningJobCheckpoints is not supported by this server yet".to_owned(),
    ))
}
