//! `UpdateDeployment`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn deployment_update(
    call: &Call,
    request: pb::UpdateDeploymentRequest,
) -> Result<pb::Deployment, ServerError> {
    let account = names::deployment("deployment.name", &request.deployment.unwrap_or_default().name)?.0;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("UpdateDeployment is not supported by this server yet".to_owned()))
}
