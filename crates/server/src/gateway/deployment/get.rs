//! `GetDeployment`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};

/// Reads a deployment. One that was deleted is there until it is purged.
pub(in crate::gateway) async fn deployment_get(
    call: &Call,
    request: pb::GetDeploymentRequest,
) -> Result<pb::Deployment, ServerError> {
    let (account, id) = names::deployment("name", &request.name)?;
    call.caller.may_read_models(&account)?;
    let deployment = call.state.store().deployment_get(&account, id.as_str()).await?;
    mask::apply("Deployment", super::to_pb(&deployment), request.read_mask.as_ref())
}
