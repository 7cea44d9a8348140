//! `CreateDeployment`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn deployment_create(
    call: &Call,
    request: pb::CreateDeploymentRequest,
) -> Result<pb::Deployment, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("CreateDeployment is not supported by this server yet".to_owned()))
}
