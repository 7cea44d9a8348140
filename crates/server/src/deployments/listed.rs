//! Names beside those of models that lists of what can be asked show: models on deployments, and deployed models.

use hearth_domain::{AccountId, DeployedModel, DeployedModelState, Deployment, DeploymentState, ModelRef};

use super::Deployments;
use crate::error::ServerError;

/// `accounts/{account}/models/{model}#accounts/{account}/deployments/{deployment}`.
pub(super) fn name_on(model: &ModelRef, deployment: &Deployment) -> String {
    format!("{model}#{}", deployment.name())
}

impl Deployments {
    /// Names of an account's own deployments and deployed models that answer, at once or when they are woken, with
    /// their models; `most` at most. What is there by itself has the name of its model and is not named here.
    pub(crate) async fn names(
        &self,
        account: &AccountId,
        most: usize,
    ) -> Result<Vec<(String, ModelRef)>, ServerError> {
        let answers = |one: &Deployment| {
            let is_sound = !matches!(one.state, DeploymentState::Failed | DeploymentState::Deleted);
            is_sound && one.max_replica_count > 0
        };
        let mut deployments: Vec<Deployment> = self.store().first(account, most).await?;
        deployments.retain(answers);
        let named = |one: &Deployment| {
            let model = one.base_model.clone()?;
            Some((name_on(&model, one), model))
        };
        let models: Vec<DeployedModel> = self.store().first(account, most).await?;
        let is_up = |one: &&DeployedModel| match one.is_local() {
            true => one.state == DeployedModelState::Deployed,
            false => deployments.iter().any(|on| on.id == one.deployment),
        };
        let of_models = models.iter().filter(is_up).map(|one| (one.name(), one.model.clone()));
        Ok(deployments.iter().filter_map(named).chain(of_models).take(most).collect())
    }
}
