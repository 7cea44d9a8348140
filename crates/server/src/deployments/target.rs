//! From the `model` of a request to what answers it: a model, a deployment, a deployed model, or a model on a
//! deployment (`model#deployment`).

use hearth_domain::{
    AccountId, DeployedModelState, Deployment, DeploymentId, DeploymentState, ModelId, ModelRef,
};
use hearth_proto::names::{DeployedModelName, DeploymentName, ModelName};
use hearth_store::StoreError;

use super::Deployments;
use super::listed::name_on;
use crate::auth::Caller;
use crate::error::ServerError;

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The model that answers, if it is installed.
    pub(crate) model: ModelRef,
    /// The name that lists show; see [`Deployments::names`].
    pub(crate) name: String,
    /// The deployment that the name means, unless it is the one that is built in.
    deployment: Option<Deployment>,
    /// Where the model stands that was loaded on it.
    addon: Option<DeployedModelState>,
}

impl Target {
    /// A model on the deployment that is built in.
    fn built_in(model: ModelRef) -> Self {
        Self { name: model.to_string(), model, deployment: None, addon: None }
    }
}

/// Whether a target can answer now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It can.
    Ready,
    /// It is being loaded.
    ScalingUp,
    /// It could not be loaded, and why.
    Failed(String),
}

/// A name, taken apart.
enum Name {
    Model(ModelRef),
    DeployedModel(AccountId, String),
    Deployment(AccountId, DeploymentId, Option<ModelRef>),
}

impl Name {
    /// `None` if it is no name. A deployment behind `#` may be an id in the caller's account.
    fn parse(caller: &Caller, text: &str) -> Option<Self> {
        if let Some((model, deployment)) = text.split_once('#') {
            let name = match deployment.contains('/') {
                true => deployment.parse().ok()?,
                false => {
                    DeploymentName { account: caller.account.to_string(), deployment: deployment.to_owned() }
                }
            };
            let (account, id) = deployment_of(name)?;
            return Some(Self::Deployment(account, id, Some(model_of(model)?)));
        }
        if let Ok(name) = text.parse::<DeployedModelName>() {
            return Some(Self::DeployedModel(AccountId::new(name.account).ok()?, name.deployed_model));
        }
        if let Ok(name) = text.parse::<DeploymentName>() {
            let (account, id) = deployment_of(name)?;
            return Some(Self::Deployment(account, id, None));
        }
        Some(Self::Model(model_of(text)?))
    }
}

fn model_of(text: &str) -> Option<ModelRef> {
    let name: ModelName = text.parse().ok()?;
    Some(ModelRef { account: AccountId::new(name.account).ok()?, id: ModelId::new(name.model).ok()? })
}

fn deployment_of(name: DeploymentName) -> Option<(AccountId, DeploymentId)> {
    Some((AccountId::new(name.account).ok()?, DeploymentId::new(name.deployment).ok()?))
}

impl Deployments {
    /// What a name leads to, for this caller. `None` if there is nothing of that name, or not for this caller.
    pub(crate) async fn target(&self, caller: &Caller, name: &str) -> Result<Option<Target>, ServerError> {
        let Some(name) = Name::parse(caller, name) else { return Ok(None) };
        let is_open = |account: &AccountId| caller.may_read_models(account).is_ok();
        match name {
            Name::Model(model) if is_open(&model.account) => self.default_target(model).await.map(Some),
            Name::DeployedModel(account, id) if is_open(&account) => {
                let Some(deployed) = found(self.store().deployed_model_get(&account, &id).await)? else {
                    return Ok(None);
                };
                let is_by_itself = deployed.is_local() && deployed.id.as_str() == deployed.model.id.as_str();
                let name = if is_by_itself { deployed.model.to_string() } else { deployed.name() };
                let target = self.on_deployment(&account, &deployed.deployment, Some(deployed.model)).await?;
                Ok(target.map(|target| Target { name, ..target }))
            }
            Name::Deployment(account, id, model)
                if is_open(&account) && model.as_ref().is_none_or(|model| is_open(&model.account)) =>
            {
                self.on_deployment(&account, &id, model).await
            }
            _ => Ok(None),
        }
    }

    /// A model by its own name, which stands for its default deployed model. If that is not loaded, the deployment that
    /// is built in answers.
    async fn default_target(&self, model: ModelRef) -> Result<Target, ServerError> {
        let deployed = self.store().deployed_models_of(&model).await?;
        let default = deployed.iter().find(|one| one.account == model.account && one.is_default);
        let loaded = default.filter(|one| one.state == DeployedModelState::Deployed && !one.is_local());
        let on_default = match loaded {
            Some(one) => self.on_deployment(&one.account, &one.deployment, Some(model.clone())).await?,
            None => None,
        };
        Ok(match on_default {
            Some(target) => Target { name: model.to_string(), ..target },
            None => Target::built_in(model),
        })
    }

    /// The model of a deployment, or one that is loaded on it.
    async fn on_deployment(
        &self,
        account: &AccountId,
        id: &DeploymentId,
        wanted: Option<ModelRef>,
    ) -> Result<Option<Target>, ServerError> {
        let deployment = found(self.store().deployment_get(account, id.as_str()).await)?;
        // Without room for a replica nothing is deployed on it.
        let is_there = |one: &Deployment| !one.is_deleted() && one.max_replica_count > 0;
        let Some(deployment) = deployment.filter(is_there) else { return Ok(None) };
        let Some(base_model) = &deployment.base_model else {
            // The one that is built in answers with every model.
            return Ok(wanted.map(Target::built_in));
        };
        let model = wanted.unwrap_or_else(|| base_model.clone());
        let name = name_on(&model, &deployment);
        if model == *base_model {
            return Ok(Some(Target { model, name, deployment: Some(deployment), addon: None }));
        }
        let addons = self.store().deployed_models_on(account, id).await?;
        let addon = addons.iter().find(|addon| addon.model == model).map(|addon| addon.state);
        Ok(addon.map(|state| Target { model, name, deployment: Some(deployment), addon: Some(state) }))
    }

    /// Whether a target can answer a request now. Counts it for the deployment, and wakes that if it was scaled to zero.
    pub(crate) async fn ask(&self, target: &Target) -> Result<Readiness, ServerError> {
        let Some(deployment) = &target.deployment else { return Ok(Readiness::Ready) };
        self.count_request(deployment).await?;
        if deployment.state == DeploymentState::Failed {
            return Ok(Readiness::Failed(deployment.status.message.clone()));
        }
        if !deployment.is_up() {
            self.wake(deployment).await?;
            return Ok(Readiness::ScalingUp);
        }
        match target.addon {
            Some(DeployedModelState::Deploying) => Ok(Readiness::ScalingUp),
            Some(DeployedModelState::Deployed) | None => Ok(Readiness::Ready),
        }
    }

    /// Wants a replica of a deployment that has none.
    async fn wake(&self, deployment: &Deployment) -> Result<(), ServerError> {
        let woken = self.change(&deployment.account, &deployment.id, |deployment| {
            let may_wake = !deployment.is_deleted() && deployment.max_replica_count > 0;
            if may_wake && deployment.desired_replica_count == 0 {
                deployment.scale(1);
            }
            Ok(())
        });
        match woken.await {
            // It was deleted at this moment.
            Err(ServerError::Store(StoreError::NotFound { .. })) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// `None` if it is not there.
fn found<T>(result: Result<T, StoreError>) -> Result<Option<T>, ServerError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
