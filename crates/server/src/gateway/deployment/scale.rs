//! `ScaleDeployment`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn deployment_scale(
    call: &Call,
    request: pb::ScaleDeploymentRequest,
) -> Result<(), ServerError> {
    let account = names::deployment("name", &request.name)?.0;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("ScaleDeployment is not supported by this server yet".to_owned()))
}
