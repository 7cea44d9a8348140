//! `DeleteDeployment`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Deletes a deployment and frees its memory at once.
pub(in crate::gateway) async fn deployment_delete(
    call: &Call,
    request: pb::DeleteDeploymentRequest,
) -> Result<(), ServerError> {
    let (account, id) = names::deployment("name", &request.name)?;
    call.caller.may_change(&account)?;
    super::refuse_local(&id)?;
    call.state.deployments().delete(&account, &id, request.hard, request.ignore_checks).await
}
