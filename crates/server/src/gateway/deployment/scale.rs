//! `ScaleDeployment`.

use hearth_domain::Deployment;
use hearth_proto::gateway as pb;

use super::settings;
use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Begins to load what a deployment answers with (1), or frees its memory (0).
pub(in crate::gateway) async fn deployment_scale(
    call: &Call,
    request: pb::ScaleDeploymentRequest,
) -> Result<(), ServerError> {
    let (account, id) = names::deployment("name", &request.name)?;
    call.caller.may_change(&account)?;
    super::refuse_local(&id)?;
    let replicas = settings::replicas("replicaCount", request.replica_count)?;
    let change = |deployment: &mut Deployment| {
        super::refuse_deleted(deployment)?;
        let (min, max) = (deployment.min_replica_count, deployment.max_replica_count);
        if !(min..=max).contains(&replicas) {
            return Err(ServerError::FailedPrecondition(format!(
                "{} has from {min} to {max} replicas; update minReplicaCount or maxReplicaCount first",
                deployment.name()
            )));
        }
        deployment.scale(replicas);
        Ok(())
    };
    call.state.deployments().change(&account, &id, change).await.map(|_| ())
}
