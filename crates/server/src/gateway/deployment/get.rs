//! `GetDeployment`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn deployment_get(
    call: &Call,
    request: pb::GetDeploymentRequest,
) -> Result<pb::Deployment, ServerError> {
    let account = names::deployment("name", &request.name)?.0;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("GetDeployment is not supported by this server yet".to_owned()))
}
