//! From a model's name to the directories that answer for it.

use hearth_domain::Model;
use hearth_inference as inference;

use super::error::OpenAiError;
use crate::auth::Caller;
use crate::deployments::{Readiness, Target, model_files};
use crate::state::AppState;

/// The model that answers for a name, if the caller may use it: a model, a model on a deployment
/// (`MODEL#DEPLOYMENT`), a deployed model, or a deployment. Looked up anew for every request, so that a deleted model is
/// gone at once. A deployment that was scaled to zero is woken.
///
/// # Errors
/// 404 for names that are not names, models that do not exist and models of other accounts alike; 503 while a
/// deployment is being loaded, and 412 if it could not be.
pub(super) async fn find(
    state: &AppState,
    caller: &Caller,
    name: &str,
) -> Result<inference::ModelRef, OpenAiError> {
    let (target, _, files) = installed(state, caller, name).await?;
    match state.deployments().ask(&target).await? {
        Readiness::Ready => Ok(files),
        Readiness::ScalingUp => Err(OpenAiError::scaling_up()),
        Readiness::Failed(why) => Err(OpenAiError::deployment_failed(&why)),
    }
}

/// The record of the model that answers for a name, with the name that lists show; see [`find`]. Wakes nothing.
///
/// # Errors
/// 404, as [`find`].
pub(super) async fn model(
    state: &AppState,
    caller: &Caller,
    name: &str,
) -> Result<(String, Model), OpenAiError> {
    installed(state, caller, name).await.map(|(target, model, _)| (target.name, model))
}

async fn installed(
    state: &AppState,
    caller: &Caller,
    name: &str,
) -> Result<(Target, Model, inference::ModelRef), OpenAiError> {
    let not_found = || OpenAiError::model_not_found(name);
    let target = state.deployments().target(caller, name).await?.ok_or_else(not_found)?;
    let (model, files) = model_files(state.store(), &target.model).await?.ok_or_else(not_found)?;
    Ok((target, model, files))
}
