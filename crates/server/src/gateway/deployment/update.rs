//! `UpdateDeployment`.

use hearth_domain::Deployment;
use hearth_proto::gateway as pb;

use super::settings;
use crate::error::ServerError;
use crate::gateway::{Call, mask, names, precision};

/// Changes the fields that the mask names; without a mask, those that are given.
pub(in crate::gateway) async fn deployment_update(
    call: &Call,
    request: pb::UpdateDeploymentRequest,
) -> Result<pb::Deployment, ServerError> {
    let given = request.deployment.unwrap_or_default();
    let (account, id) = names::deployment("deployment.name", &given.name)?;
    call.caller.may_change(&account)?;
    super::refuse_local(&id)?;
    // Nothing else is looked at: some clients send back all that they read.
    let (paths, given) = mask::changes("Deployment", given, request.update_mask.as_ref(), &call.present)?;
    settings::refuse_other(&given)?;
    let addons = match given.enable_addons || !paths.iter().any(|path| path == "enable_addons") {
        true => Vec::new(),
        false => call.state.store().deployed_models_on(&account, &id).await?,
    };
    if let Some(addon) = addons.first() {
        return Err(ServerError::FailedPrecondition(format!(
            "{} is loaded on it; delete that first",
            addon.name()
        )));
    }
    let change = |deployment: &mut Deployment| {
        super::refuse_deleted(deployment)?;
        for path in &paths {
            set(deployment, path, &given)?;
        }
        let (min, max) = (deployment.min_replica_count, deployment.max_replica_count);
        if min > max {
            return Err(ServerError::field(
                "minReplicaCount",
                format!("is {min}, above maxReplicaCount {max}"),
            ));
        }
        deployment.clamp();
        Ok(())
    };
    let deployment = call.state.deployments().change(&account, &id, change).await?;
    Ok(super::to_pb(&deployment))
}

/// Sets one field.
fn set(deployment: &mut Deployment, path: &str, given: &pb::Deployment) -> Result<(), ServerError> {
    let (field, _) = path.split_once('.').unwrap_or((path, ""));
    match field {
        "display_name" => deployment.display_name = super::display_name(&given.display_name)?,
        "description" => deployment.description = super::description(&given.description)?,
        "annotations" => deployment.annotations = settings::annotations(given.annotations.iter())?,
        "min_replica_count" => {
            deployment.min_replica_count = settings::replicas("minReplicaCount", given.min_replica_count)?;
        }
        "max_replica_count" => {
            deployment.max_replica_count = settings::replicas("maxReplicaCount", given.max_replica_count)?;
        }
        "autoscaling_policy" => {
            let policy = given.autoscaling_policy.as_ref();
            deployment.autoscaling = settings::autoscaling(policy, deployment.autoscaling)?;
        }
        "enable_addons" => deployment.enable_addons = given.enable_addons,
        "base_model" => {
            let same = names::model_in(&deployment.account, "baseModel", &given.base_model)?;
            if deployment.base_model.as_ref() != Some(&same) {
                return Err(ServerError::FailedPrecondition(format!(
                    "the base model of {} stays the same; make another deployment for {same}",
                    deployment.name()
                )));
            }
        }
        "precision" => precision::check(given.precision(), &deployment.precision)?,
        // Either only the server writes it, or the one value that is true was checked already.
        _ => {}
    }
    Ok(())
}
