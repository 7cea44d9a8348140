//! From a model's name to the directories that answer for it.

use hearth_domain::{AccountId, JobId, Model};
use hearth_inference as inference;
use hearth_proto::names::CheckpointName;
use hearth_store::StoreError;

use super::error::OpenAiError;
use crate::auth::Caller;
use crate::deployments::{Readiness, Target, model_files};
use crate::error::ServerError;
use crate::jobs::checkpoint::answering;
use crate::state::AppState;

/// The model that answers for a name, if the caller may use it: a model, a model on a deployment
/// (`MODEL#DEPLOYMENT`), a deployed model, a deployment, or a checkpoint that a job keeps. Looked up anew for every request, so that a deleted model is
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
    if let Ok(checkpoint) = name.parse::<CheckpointName>() {
        let found = of_checkpoint(state, caller, checkpoint).await?;
        return found.ok_or_else(|| OpenAiError::model_not_found(name));
    }
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

/// A checkpoint of a job that is there: of those that stay, and `None` for all others. Made usable if it is not yet.
async fn of_checkpoint(
    state: &AppState,
    caller: &Caller,
    name: CheckpointName,
) -> Result<Option<inference::ModelRef>, OpenAiError> {
    let (Ok(account), Ok(id)) = (AccountId::new(name.account), JobId::new(name.job)) else { return Ok(None) };
    let step = name.checkpoint.strip_prefix("step-").and_then(|step| step.parse().ok());
    let Some(step) = step.filter(|_| caller.may_read(&account).is_ok()) else { return Ok(None) };
    let job = match state.store().job_get(&account, &id).await {
        Err(StoreError::NotFound { .. }) => return Ok(None),
        found => found.map_err(ServerError::from)?.job,
    };
    // Of two that ask at once, one makes it.
    let _lock = state.model_lock(&job.settings.output_model).await;
    let state = state.clone();
    let found = tokio::task::spawn_blocking(move || answering(&state, &job, step)).await;
    Ok(found.map_err(|source| ServerError::internal("making the adapter of a checkpoint", source))??)
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
