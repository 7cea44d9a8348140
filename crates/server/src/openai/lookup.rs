//! From a model's name to the directories that answer for it.

use hearth_domain::{AccountId, Model, ModelId, ModelKind, ModelRef};
use hearth_inference as inference;
use hearth_proto::names::{DeployedModelName, ModelName};
use hearth_store::installed::model_dir;
use hearth_store::{Store, StoreError};

use super::error::OpenAiError;
use crate::auth::Caller;
use crate::error::ServerError;
use crate::state::AppState;

/// The model of that full name, its own or that of its deployed model, if the caller may use it. Looked up anew for
/// every request, so that a deleted model is gone at once.
///
/// # Errors
/// 404 for names that are not names, models that do not exist and models of other accounts alike.
pub(super) async fn find(
    state: &AppState,
    caller: &Caller,
    name: &str,
) -> Result<inference::ModelRef, OpenAiError> {
    let not_found = || OpenAiError::model_not_found(name);
    let wanted = parse(name).ok_or_else(not_found)?;
    caller.may_read_models(&wanted.account).map_err(|_| not_found())?;
    let model = get(state.store(), &wanted).await?.ok_or_else(not_found)?;
    let dir = |name: &ModelRef| model_dir(state.data_dir(), &name.account, &name.id);
    match &model.kind {
        ModelKind::Base { .. } => Ok(inference::ModelRef { base_dir: dir(&wanted), adapter_dir: None }),
        ModelKind::Adapter { base_model, .. } => {
            // Without its base an adapter cannot answer.
            get(state.store(), base_model).await?.ok_or_else(not_found)?;
            Ok(inference::ModelRef { base_dir: dir(base_model), adapter_dir: Some(dir(&wanted)) })
        }
    }
}

fn parse(name: &str) -> Option<ModelRef> {
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
