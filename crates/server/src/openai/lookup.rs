//! From a model's name to the directories that answer for it.

use hearth_domain::{AccountId, Model, ModelId, ModelKind, ModelRef};
use hearth_inference as inference;
use hearth_proto::names::{DeployedModelName, DeploymentName, ModelName};
use hearth_store::installed::model_dir;
use hearth_store::{Store, StoreError};

use super::error::OpenAiError;
use crate::auth::Caller;
use crate::error::ServerError;
use crate::gateway::model::LOCAL_DEPLOYMENT;
use crate::state::AppState;

/// The model that answers for a name, if the caller may use it: a model, a model on a deployment
/// (`MODEL#DEPLOYMENT`), a deployed model, or a deployment. Looked up anew for every request, so that a deleted model is
/// gone at once.
///
/// # Errors
/// 404 for names that are not names, models that do not exist and models of other accounts alike.
pub(super) async fn find(
    state: &AppState,
    caller: &Caller,
    name: &str,
) -> Result<inference::ModelRef, OpenAiError> {
    let not_found = || OpenAiError::model_not_found(name);
    let model = model(state, caller, name).await?;
    let dir = |name: &ModelRef| model_dir(state.data_dir(), &name.account, &name.id);
    match &model.kind {
        ModelKind::Base { .. } => Ok(inference::ModelRef { base_dir: dir(&model.name()), adapter_dir: None }),
        ModelKind::Adapter { base_model, .. } => {
            // Without its base an adapter cannot answer.
            get(state.store(), base_model).await?.ok_or_else(not_found)?;
            Ok(inference::ModelRef { base_dir: dir(base_model), adapter_dir: Some(dir(&model.name())) })
        }
    }
}

/// The record of the model that answers for a name; see [`find`].
///
/// # Errors
/// 404, as [`find`].
pub(super) async fn model(state: &AppState, caller: &Caller, name: &str) -> Result<Model, OpenAiError> {
    let not_found = || OpenAiError::model_not_found(name);
    let Name { model, deployment } = Name::parse(name).ok_or_else(not_found)?;
    let wanted = match deployment {
        None => model,
        Some(deployment) => on_deployment(caller, &deployment, model),
    };
    let wanted = wanted.ok_or_else(not_found)?;
    caller.may_read_models(&wanted.account).map_err(|_| not_found())?;
    get(state.store(), &wanted).await?.ok_or_else(not_found)
}

/// The model that a deployment answers with, `model` if one is named and it is there. `None` if the deployment is not
/// there, is not the caller's to use, or does not have the model.
///
/// Each account has one deployment, `local`, on which all models answer. It has no model of its own, so that one must be
/// named.
fn on_deployment(caller: &Caller, deployment: &DeploymentName, model: Option<ModelRef>) -> Option<ModelRef> {
    let account = AccountId::new(deployment.account.as_str()).ok()?;
    let is_there = deployment.deployment == LOCAL_DEPLOYMENT && caller.may_read_models(&account).is_ok();
    model.filter(|_| is_there)
}

/// What stands in the field `model`. At least one is there.
#[derive(Debug, PartialEq)]
struct Name {
    model: Option<ModelRef>,
    deployment: Option<DeploymentName>,
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        let deployment = |name: &str| name.parse::<DeploymentName>().ok();
        match name.split_once('#') {
            Some((model, on)) => {
                Some(Self { model: Some(parse_model(model)?), deployment: Some(deployment(on)?) })
            }
            None => match deployment(name) {
                Some(name) => Some(Self { model: None, deployment: Some(name) }),
                None => Some(Self { model: Some(parse_model(name)?), deployment: None }),
            },
        }
    }
}

fn parse_model(name: &str) -> Option<ModelRef> {
    // A deployed model has the id of its model.
    let (account, id) = match name.parse::<DeployedModelName>() {
        Ok(name) => (name.account, name.deployed_model),
        Err(_) => name.parse::<ModelName>().map(|name| (name.account, name.model)).ok()?,
    };
    Some(ModelRef { account: AccountId::new(account).ok()?, id: ModelId::new(id).ok()? })
}

/// The model, also when it was installed while the server runs.
async fn get(store: &Store, name: &ModelRef) -> Result<Option<Model>, ServerError> {
    for synced in [false, true] {
        match store.model_get(name).await {
            Ok(model) => return Ok(Some(model)),
            Err(StoreError::NotFound { .. }) if !synced => crate::state::sync_models(store).await?,
            Err(StoreError::NotFound { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_models_deployments_or_both() {
        let check = |name: &str, expect: Option<&str>| {
            let shown = Name::parse(name).map(|name| {
                let model = name.model.map(|model| model.to_string()).unwrap_or_default();
                format!("{model} {}", name.deployment.map(|on| on.to_string()).unwrap_or_default())
            });
            assert_eq!(shown.as_deref(), expect, "{name}");
        };
        check("accounts/a/models/m", Some("accounts/a/models/m "));
        check("accounts/a/deployedModels/m", Some("accounts/a/models/m "));
        check("accounts/a/deployments/d", Some(" accounts/a/deployments/d"));
        check(
            "accounts/a/models/m#accounts/b/deployments/d",
            Some("accounts/a/models/m accounts/b/deployments/d"),
        );
        for bad in [
            "",
            "m",
            "#",
            "accounts/a/models/m#",
            "#accounts/b/deployments/d",
            "accounts/a/models/m#d",
            "accounts/a/models/m#accounts/b/models/d",
            "accounts/a/deployments/d#accounts/a/deployments/d",
            "accounts/a/models/m#accounts/b/deployments/d#accounts/b/deployments/d",
            "accounts/a/models/",
        ] {
            check(bad, None);
        }
    }
}
