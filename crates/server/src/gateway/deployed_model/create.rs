//! `CreateDeployedModel`.

use hearth_domain::{
    AccountId, DeployedModel, DeployedModelId, DeployedModelState, Deployment, DeploymentId, ModelId,
    ModelRef, Status,
};
use hearth_proto::gateway as pb;
use hearth_store::StoreError;

use crate::error::ServerError;
use crate::gateway::{Call, given, names};

/// Fields that have an effect. `serverless` and `public` only if they are not set, or true anyway.
const SUPPORTED: &[&str] = &["displayName", "description", "model", "deployment", "default", "serverless"];
/// Characters of the model's id in that of its deployed model: those of a generated id and a hyphen come behind.
const MODEL_ID_CHARS: usize = 54;

/// Loads an adapter over the base of a deployment and keeps it loaded: over its own base, without a deployment.
pub(in crate::gateway) async fn deployed_model_create(
    call: &Call,
    request: pb::CreateDeployedModelRequest,
) -> Result<pb::DeployedModel, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    let given = request.deployed_model.unwrap_or_default();
    given::refuse_other("DeployedModel", "", &given, SUPPORTED)?;
    if request.replace_merged_addon {
        return Err(ServerError::Unimplemented(
            "replaceMergedAddon: adapters are not merged into a base here; leave it out".to_owned(),
        ));
    }
    if given.model.is_empty() {
        return Err(ServerError::field("model", "is required: the adapter to load"));
    }
    let model = names::model_in(&account, "model", &given.model)?;
    call.caller.may_read_models(&model.account)?;
    let deployment = match given.deployment.as_str() {
        "" => DeploymentId::new(Deployment::LOCAL).expect("it is a valid id"),
        name => {
            let (owner, id) = names::deployment("deployment", name)?;
            if owner != account {
                return Err(ServerError::field("deployment", format!("is not one of account {account}")));
            }
            id
        }
    };
    if given.serverless && deployment.as_str() != Deployment::LOCAL {
        return Err(ServerError::field("serverless", "contradicts a deployment; leave one of them out"));
    }
    crate::state::sync_models(call.state.store()).await?;
    let now_ms = crate::now_ms();
    let new = DeployedModel {
        id: new_id(call, &account, &model).await?,
        account,
        display_name: crate::gateway::deployment::display_name(&given.display_name)?,
        description: crate::gateway::deployment::description(&given.description)?,
        model,
        deployment,
        is_default: given.default,
        state: DeployedModelState::Deploying,
        status: Status::default(),
        created_by: call.caller.email.clone(),
        create_time_ms: now_ms,
        update_time_ms: now_ms,
    };
    Ok(super::to_pb(&call.state.deployments().create_deployed(new).await?))
}

/// The model's id with a random end. No model has it: else the deployed model would not be gone once it is deleted.
async fn new_id(call: &Call, account: &AccountId, model: &ModelRef) -> Result<DeployedModelId, ServerError> {
    loop {
        let begin: String = model.id.as_str().chars().take(MODEL_ID_CHARS).collect();
        let id = format!("{begin}-{}", DeployedModelId::generate(rand::random()));
        let same =
            ModelId::new(id.as_str()).map_err(|source| ServerError::internal("naming a model", source))?;
        match call.state.store().model_get(&ModelRef { account: account.clone(), id: same }).await {
            Ok(_) => {}
            Err(StoreError::NotFound { .. }) => {
                return DeployedModelId::new(id)
                    .map_err(|source| ServerError::internal("naming a deployed model", source));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
