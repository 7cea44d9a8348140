//! Deployed models: adapters that somebody loaded over the base of a deployment, and for each installed model the one
//! that is there by itself on the deployment `local`, which is loaded when it is asked for. The latter are listed only
//! with `showInternal`: for clients, a model that is listed is one that they can unload.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;
pub(super) mod serverless_lora;
pub(super) mod update;

use hearth_domain::{Account, AccountId, DeployedModel, DeployedModelId, DeployedModelState, Deployment};
use hearth_proto::gateway as pb;
use hearth_store::StoreError;

use super::Call;
use super::time::timestamp;
use crate::error::ServerError;

/// The record as clients see it.
fn to_pb(model: &DeployedModel) -> pb::DeployedModel {
    pb::DeployedModel {
        name: model.name(),
        display_name: model.display_name.clone(),
        description: model.description.clone(),
        create_time: Some(timestamp(model.create_time_ms)),
        update_time: Some(timestamp(model.update_time_ms)),
        created_by: model.created_by.clone(),
        model: model.model.to_string(),
        deployment: format!("accounts/{}/deployments/{}", model.account, model.deployment),
        default: model.is_default,
        state: state(model.state).into(),
        serverless: model.is_local(),
        status: Some(super::status_to_pb(&model.status)),
        public: model.account.as_str() == Account::CATALOGUE,
        ..Default::default()
    }
}

pub(super) fn state(state: DeployedModelState) -> pb::deployed_model::State {
    match state {
        DeployedModelState::Deploying => pb::deployed_model::State::Deploying,
        DeployedModelState::Deployed => pb::deployed_model::State::Deployed,
    }
}

/// A deployed model cannot be changed that nobody loaded: says so where it would only not be found.
async fn explain(
    call: &Call,
    (account, id): (&AccountId, &DeployedModelId),
    error: ServerError,
) -> ServerError {
    if !matches!(error, ServerError::Store(StoreError::NotFound { .. })) {
        return error;
    }
    match call.state.store().deployed_model_get(account, id.as_str()).await {
        Ok(model) => ServerError::FailedPrecondition(format!(
            "{} is there by itself, on the deployment {:?}: it cannot be changed or unloaded",
            model.name(),
            Deployment::LOCAL
        )),
        Err(_) => error,
    }
}
