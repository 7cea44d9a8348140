//! `UndeleteDeployment`.

use hearth_domain::Deployment;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Brings a deployment back and begins to load it. What was loaded on it does not come back.
pub(in crate::gateway) async fn deployment_undelete(
    call: &Call,
    request: pb::UndeleteDeploymentRequest,
) -> Result<pb::Deployment, ServerError> {
    let (account, id) = names::deployment("name", &request.name)?;
    call.caller.may_change(&account)?;
    super::refuse_local(&id)?;
    let change = |deployment: &mut Deployment| {
        if !deployment.is_deleted() {
            return Err(ServerError::FailedPrecondition(format!("{} is not deleted", deployment.name())));
        }
        deployment.undeleted();
        Ok(())
    };
    let deployment = call.state.deployments().change(&account, &id, change).await?;
    Ok(super::to_pb(&deployment))
}
