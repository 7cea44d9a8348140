//! `GetOperation`.

use hearth_proto::google;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn operation_get(
    call: &Call,
    request: google::longrunning::GetOperationRequest,
) -> Result<google::longrunning::Operation, ServerError> {
    let account = names::operation("name", &request.name)?.0;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("GetOperation is not supported by this server yet".to_owned()))
}
