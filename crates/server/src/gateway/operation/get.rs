//! `GetOperation`.

use hearth_domain::Operation;
use hearth_proto::google::longrunning;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Reads how far an operation is. Those that ended are remembered for thirty days.
pub(in crate::gateway) async fn operation_get(
    call: &Call,
    request: longrunning::GetOperationRequest,
) -> Result<longrunning::Operation, ServerError> {
    let (account, id) = names::operation("name", &request.name)?;
    call.caller.may_read(&account)?;
    let operation: Operation = call.state.store().get(&account, id.as_str()).await?;
    Ok(super::to_pb(&operation))
}
