//! `UpdateDeployedModel`.

use hearth_domain::DeployedModel;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, deployment, given, mask, names};

/// Fields that change, or may be given as they are.
const SUPPORTED: &[&str] = &["displayName", "description", "default", "model", "deployment", "serverless"];

/// Changes what people read about a deployed model, and which one its model's name stands for.
pub(in crate::gateway) async fn deployed_model_update(
    call: &Call,
    request: pb::UpdateDeployedModelRequest,
) -> Result<pb::DeployedModel, ServerError> {
    let given = request.deployed_model.unwrap_or_default();
    let (account, id) = names::deployed_model("deployedModel.name", &given.name)?;
    call.caller.may_change(&account)?;
    let (paths, given) = mask::changes("DeployedModel", given, request.update_mask.as_ref(), &call.present)?;
    given::refuse_other("DeployedModel", "", &given, SUPPORTED)?;
    let change = |model: &mut DeployedModel| paths.iter().try_for_each(|path| set(model, path, &given));
    match call.state.deployments().change_deployed(&account, &id, change).await {
        Ok(model) => Ok(super::to_pb(&model)),
        Err(error) => Err(super::explain(call, (&account, &id), error).await),
    }
}

/// Sets one field.
fn set(model: &mut DeployedModel, path: &str, given: &pb::DeployedModel) -> Result<(), ServerError> {
    let stays = |what: &str| {
        let name = model.name();
        ServerError::FailedPrecondition(format!("the {what} of {name} stays the same; load another one"))
    };
    match path {
        "display_name" => model.display_name = deployment::display_name(&given.display_name)?,
        "description" => model.description = deployment::description(&given.description)?,
        "default" if given.default => model.is_default = true,
        "default" if model.is_default => {
            return Err(ServerError::FailedPrecondition(format!(
                "{} is the default of its model; make another one the default instead",
                model.name()
            )));
        }
        "model" if names::model_in(&model.account, "model", &given.model)? != model.model => {
            return Err(stays("model"));
        }
        "deployment"
            if names::deployment("deployment", &given.deployment)?
                != (model.account.clone(), model.deployment.clone()) =>
        {
            return Err(stays("deployment"));
        }
        "serverless" if given.serverless != model.is_local() => return Err(stays("deployment")),
        // Either as it is, or not set.
        _ => {}
    }
    Ok(())
}
