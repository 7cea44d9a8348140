//! Names beside those of models that lists of what can be asked show: models on deployments, and deployed models.

use hearth_domain::{AccountId, DeployedModel, DeployedModelState, Deployment, DeploymentState, ModelRef};
use hearth_store::ListQuery;

use super::Deployments;
use crate::error::ServerError;
use crate::limits::PAGE_SIZE_MAX;

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
        // All of them are one page: an account has fewer.
        const { assert!(Deployment::PER_ACCOUNT_MAX <= PAGE_SIZE_MAX as usize) };
        let mut query = ListQuery { page_size: PAGE_SIZE_MAX, ..ListQuery::default() };
        let deployments = self.store().list::<Deployment>(account, &query).await?.items;
        let answers = |one: &Deployment| {
            let is_sound = !matches!(one.state, DeploymentState::Failed | DeploymentState::Deleted);
            is_sound && one.max_replica_count > 0
        };
        let deployments: Vec<Deployment> = deployments.into_iter().filter(answers).collect();
        let named = |one: &Deployment| {
            let model = one.base_model.clone()?;
            Some((name_on(&model, one), model))
        };
        let mut names: Vec<_> = deployments.iter().filter_map(named).collect();
        while names.len() < most {
            let page = self.store().list::<DeployedModel>(account, &query).await?;
            let is_up = |one: &DeployedModel| match one.is_local() {
                true => one.state == DeployedModelState::Deployed,
                false => deployments.iter().any(|on| on.id == one.deployment),
            };
            names.extend(
                page.items.iter().filter(|one| is_up(one)).map(|one| (one.name(), one.model.clone())),
            );
            query.page_token = page.next_page_token;
            if query.page_token.is_empty() {
                break;
            }
        }
        names.truncate(most);
        Ok(names)
    }
}
