//! Deployed models: adapters that are kept in memory over the base of a deployment.

use hearth_domain::{
    AccountId, DeployedModel, DeployedModelId, Deployment, Model, ModelKind, ModelRef, Status,
};
use hearth_inference as inference;
use hearth_store::installed::model_dir;
use hearth_store::{Store, StoreError};

use super::{Deployments, Holder, Table};
use crate::error::ServerError;
use crate::limits::MODEL_LOAD_WAIT;
use crate::now_ms;

/// The model of that name and the directories that answer for it, also when it was installed while the server runs.
/// `None` if it is not there, or is an adapter without its base.
pub(crate) async fn model_files(
    store: &Store,
    name: &ModelRef,
) -> Result<Option<(Model, inference::ModelRef)>, ServerError> {
    let dir = |name: &ModelRef| model_dir(store.data_dir(), &name.account, &name.id);
    let Some(model) = get(store, name).await? else { return Ok(None) };
    let files = match &model.kind {
        ModelKind::Base { .. } => inference::ModelRef { base_dir: dir(name), adapter_dir: None },
        ModelKind::Adapter { base_model, .. } => {
            if get(store, base_model).await?.is_none() {
                return Ok(None);
            }
            inference::ModelRef { base_dir: dir(base_model), adapter_dir: Some(dir(name)) }
        }
    };
    Ok(Some((model, files)))
}

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

/// The base of an adapter.
pub(super) async fn base_of(store: &Store, model: &ModelRef) -> Result<Option<ModelRef>, ServerError> {
    match store.model_get(model).await {
        Ok(Model { kind: ModelKind::Adapter { base_model, .. }, .. }) => Ok(Some(base_model)),
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Deployments {
    /// Makes a deployed model and loads it. One that cannot be loaded within the time that a caller waits is not made.
    pub(crate) async fn create_deployed(&self, mut new: DeployedModel) -> Result<DeployedModel, ServerError> {
        let mut table = self.inner.table.lock().await;
        let deployment = self.store().deployment_get(&new.account, new.deployment.as_str()).await?;
        self.check_deployed(&new, &deployment).await?;
        let of_model = self.store().deployed_models_of(&new.model).await?;
        let others: Vec<_> = of_model.iter().filter(|one| one.account == new.account).collect();
        if let Some(same) = others.iter().find(|one| one.deployment == new.deployment) {
            return Err(ServerError::AlreadyExists(format!(
                "{} is loaded on {} already, as {}",
                new.model,
                deployment.name(),
                same.name()
            )));
        }
        new.is_default |= others.is_empty();
        new.waits(super::load::waiting(deployment.is_up()));
        self.store().create(&new).await?;
        if new.is_default {
            self.make_default(&new).await?;
        }
        let load = self.follow_model(&mut table, deployment.is_up(), &new).await?;
        drop(table);
        if let Some(told) = load
            && let Ok(Ok(status)) = tokio::time::timeout(MODEL_LOAD_WAIT, told).await
            && status != Status::default()
        {
            self.delete_deployed(&new.account, &new.id).await?;
            return Err(ServerError::FailedPrecondition(status.message));
        }
        Ok(self.store().get(&new.account, new.id.as_str()).await?)
    }

    async fn check_deployed(&self, new: &DeployedModel, deployment: &Deployment) -> Result<(), ServerError> {
        let name = deployment.name();
        let Some((model, _)) = model_files(self.store(), &new.model).await? else {
            return Err(ServerError::NotFound(format!("model {} or its base is not installed", new.model)));
        };
        let ModelKind::Adapter { base_model, .. } = &model.kind else {
            return Err(ServerError::FailedPrecondition(format!(
                "{} is a base; make a deployment of it to keep it in memory",
                new.model
            )));
        };
        if deployment.is_deleted() {
            return Err(ServerError::FailedPrecondition(format!("{name} is deleted; undelete it first")));
        }
        if !deployment.enable_addons {
            return Err(ServerError::FailedPrecondition(format!(
                "{name} takes no adapters; set its enableAddons first"
            )));
        }
        if deployment.desired_replica_count == 0 {
            return Err(ServerError::FailedPrecondition(format!(
                "{name} is scaled to zero; scale it to 1 first"
            )));
        }
        if deployment.base_model.as_ref().is_some_and(|base| base != base_model) {
            return Err(ServerError::FailedPrecondition(format!(
                "{} is an adapter of {base_model}, which is not the base of {name}",
                new.model
            )));
        }
        let count = self.store().deployed_models_on(&new.account, &new.deployment).await?.len();
        if count >= DeployedModel::PER_DEPLOYMENT_MAX {
            return Err(ServerError::ResourceExhausted(format!(
                "{name} holds {count} models, which is the most; delete one first"
            )));
        }
        Ok(())
    }

    /// Changes what people read about a deployed model, and whether it is its model's default.
    pub(crate) async fn change_deployed(
        &self,
        account: &AccountId,
        id: &DeployedModelId,
        change: impl FnOnce(&mut DeployedModel) -> Result<(), ServerError> + Send,
    ) -> Result<DeployedModel, ServerError> {
        let _table = self.inner.table.lock().await;
        let change = |model: &mut DeployedModel| {
            change(model)?;
            model.update_time_ms = now_ms();
            Ok::<_, ServerError>(())
        };
        let changed = self.store().update(account, id.as_str(), change).await?;
        if changed.is_default {
            self.make_default(&changed).await?;
        }
        Ok(changed)
    }

    /// Deletes a deployed model and frees its memory.
    pub(crate) async fn delete_deployed(
        &self,
        account: &AccountId,
        id: &DeployedModelId,
    ) -> Result<(), ServerError> {
        let mut table = self.inner.table.lock().await;
        let model: DeployedModel = self.store().get(account, id.as_str()).await?;
        self.remove_models(&mut table, &[model]).await
    }

    pub(super) async fn remove_models(
        &self,
        table: &mut Table,
        models: &[DeployedModel],
    ) -> Result<(), ServerError> {
        for model in models {
            self.store().delete::<DeployedModel>(&model.account, model.id.as_str()).await?;
            table.held.remove(&Holder::of_model(model));
            if !model.is_default {
                continue;
            }
            // The oldest of the others takes its place.
            let others = self.store().deployed_models_of(&model.model).await?;
            if let Some(next) = others.iter().find(|other| other.account == model.account) {
                self.model_record(&next.account, &next.id, |next| next.is_default = true).await?;
            }
        }
        Ok(())
    }

    /// A model has one default in an account.
    async fn make_default(&self, default: &DeployedModel) -> Result<(), ServerError> {
        for other in self.store().deployed_models_of(&default.model).await? {
            if other.account == default.account && other.id != default.id && other.is_default {
                self.model_record(&other.account, &other.id, |other| other.is_default = false).await?;
            }
        }
        Ok(())
    }

    /// Writes a record.
    pub(super) async fn model_record(
        &self,
        account: &AccountId,
        id: &DeployedModelId,
        change: impl FnOnce(&mut DeployedModel) + Send,
    ) -> Result<DeployedModel, ServerError> {
        let change = |model: &mut DeployedModel| {
            change(model);
            model.update_time_ms = now_ms();
            Ok::<_, ServerError>(())
        };
        self.store().update(account, id.as_str(), change).await
    }
}
