//! `ListDeployments`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn deployment_list(
    call: &Call,
    request: pb::ListDeploymentsRequest,
) -> Result<pb::ListDeploymentsResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("ListDeployments is not supported by this server yet".to_owned()))
}
