//! `UnsuspendAccount`.

use hearth_domain::SuspendState;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Ends a suspension: the jobs that it stopped go on, and no others; batch inference jobs are asked again. Only the operator may.
pub(in crate::gateway) async fn account_unsuspend(
    call: &Call,
    request: pb::UnsuspendAccountRequest,
) -> Result<pb::Account, ServerError> {
    let id = names::account("name", &request.name)?;
    call.caller.must_be_operator("lift suspensions")?;
    let account = call.state.store().account_suspend(&id, SuspendState::Unsuspended, crate::now_ms()).await?;
    call.state.wake_scheduler();
    call.state.wake_batch();
    Ok(super::to_pb(&account))
}
