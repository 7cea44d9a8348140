//! What is in memory because somebody asked for it: deployments and deployed models, kept in line with their records.
//!
//! All changes go through one lock, so that a record, what is loaded for it, and what is about to be loaded never
//! contradict each other. Loading itself takes place beside the lock; what comes of it counts only if nobody changed
//! his mind meanwhile. A record is written before its caller is answered, and says what is true, not what is hoped for.

mod listed;
mod load;
mod models;
mod requests;
mod target;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use hearth_domain::{AccountId, DeployedModel, DeployedModelId, Deployment, DeploymentId, ModelRef};
use hearth_inference::{Pin, Service};
use hearth_store::{Store, StoreError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::error::ServerError;
use crate::limits::{DEPLOYMENT_POLL, LOADS_MAX};
use crate::now_ms;

pub(crate) use models::model_files;
pub(crate) use target::{Readiness, Target};

/// Clones are cheap and share everything.
#[derive(Clone)]
pub(crate) struct Deployments {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    inference: Service,
    /// Orders all changes.
    table: tokio::sync::Mutex<Table>,
    /// Places for loads that run at the same time.
    loads: Semaphore,
    /// When the last request for a deployment came, in this process.
    requests: Mutex<HashMap<(AccountId, DeploymentId), i64>>,
    stop: CancellationToken,
}

/// Who something is loaded for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Deployment(AccountId, DeploymentId),
    Model(AccountId, DeployedModelId),
}

impl Holder {
    fn of(deployment: &Deployment) -> Self {
        Self::Deployment(deployment.account.clone(), deployment.id.clone())
    }

    fn of_model(model: &DeployedModel) -> Self {
        Self::Model(model.account.clone(), model.id.clone())
    }
}

/// What is loaded or being loaded, by whom it is for.
#[derive(Default)]
struct Table {
    held: HashMap<Holder, Held>,
    attempts: u64,
}

struct Held {
    /// Tells loads for the same holder apart.
    attempt: u64,
    /// There when it is loaded. Dropping it lets the model go.
    _pin: Option<Pin>,
    /// When it was loaded.
    since_ms: i64,
}

impl Deployments {
    /// Over an opened store. Nothing is loaded before [`Deployments::start`].
    pub(crate) fn new(store: Store, inference: Service) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                inference,
                table: tokio::sync::Mutex::default(),
                loads: Semaphore::new(LOADS_MAX),
                requests: Mutex::default(),
                stop: CancellationToken::new(),
            }),
        }
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Says in every record that nothing is in memory yet, starts to load what shall be, and looks after it all until
    /// [`Deployments::shutdown`].
    pub(crate) async fn start(&self) -> Result<(), ServerError> {
        let mut table = self.inner.table.lock().await;
        for model in self.store().all::<DeployedModel>().await? {
            let status = load::waiting(model.is_local());
            self.model_record(&model.account, &model.id, |model| model.waits(status)).await?;
            if model.is_local() {
                self.follow_model(&mut table, true, &model).await?;
            }
        }
        for deployment in self.store().all::<Deployment>().await? {
            let Deployment { account, id, .. } = &deployment;
            let deployment = self.record(account, id, |deployment| {
                deployment.restarted();
                Ok(())
            });
            self.follow(&mut table, &deployment.await?).await?;
        }
        drop(table);
        let this = self.clone();
        tokio::spawn(async move {
            while tokio::time::timeout(DEPLOYMENT_POLL, this.inner.stop.cancelled()).await.is_err() {
                if let Err(error) = this.pass(now_ms()).await {
                    tracing::error!(%error, "looking after the deployments failed");
                }
            }
        });
        Ok(())
    }

    /// Starts nothing more. What is loaded goes with the process.
    pub(crate) async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.table.lock().await.held.clear();
    }

    /// Gives the memory of deployments back that nobody asks for, removes those whose time to be brought back is over,
    /// and tries again what could not be loaded.
    async fn pass(&self, now_ms: i64) -> Result<(), ServerError> {
        for Deployment { account, id, .. } in &self.store().all::<Deployment>().await? {
            let mut table = self.inner.table.lock().await;
            // It may have changed since the list was read.
            let deployment = match self.store().get::<Deployment>(account, id.as_str()).await {
                Ok(deployment) => deployment,
                Err(StoreError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if deployment.purge_time_ms.is_some_and(|purge_ms| purge_ms <= now_ms) {
                self.remove(&mut table, &deployment).await?;
                continue;
            }
            let since_ms = table.held.get(&Holder::of(&deployment)).map_or(now_ms, |held| held.since_ms);
            let used_ms = self.last_request_ms(&deployment).map_or(since_ms, |last_ms| last_ms.max(since_ms));
            if deployment.is_idle(now_ms, used_ms) {
                tracing::info!(deployment = %deployment.name(), "no requests; scaled to zero");
                let scaled = self.record(account, id, |deployment| {
                    deployment.scale(0);
                    Ok(())
                });
                self.follow(&mut table, &scaled.await?).await?;
            }
        }
        self.retry_models(now_ms).await
    }

    /// Makes a deployment and begins to load its model. One of the same name that was deleted makes way.
    pub(crate) async fn create(&self, new: &Deployment) -> Result<(), ServerError> {
        let mut table = self.inner.table.lock().await;
        match self.store().get::<Deployment>(&new.account, new.id.as_str()).await {
            Ok(old) if old.is_deleted() => self.remove(&mut table, &old).await?,
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(base_model) = &new.base_model {
            // Under the lock: the model is not deleted at the same moment.
            self.store().model_get(base_model).await?;
        }
        self.store().create(new).await?;
        self.follow(&mut table, new).await
    }

    /// Changes a deployment, and what is loaded with it.
    pub(crate) async fn change(
        &self,
        account: &AccountId,
        id: &DeploymentId,
        change: impl FnOnce(&mut Deployment) -> Result<(), ServerError> + Send,
    ) -> Result<Deployment, ServerError> {
        let mut table = self.inner.table.lock().await;
        let changed = self.record(account, id, change).await?;
        self.follow(&mut table, &changed).await?;
        Ok(changed)
    }

    /// Deletes a deployment, for good if `hard`. One that is in use stays unless `ignore_checks`.
    pub(crate) async fn delete(
        &self,
        account: &AccountId,
        id: &DeploymentId,
        hard: bool,
        ignore_checks: bool,
    ) -> Result<(), ServerError> {
        let mut table = self.inner.table.lock().await;
        let deployment: Deployment = self.store().get(account, id.as_str()).await?;
        let name = deployment.name();
        if !hard && deployment.is_deleted() {
            return Err(ServerError::FailedPrecondition(format!(
                "{name} is deleted already; set hard to remove it for good"
            )));
        }
        let models = self.store().deployed_models_on(account, id).await?;
        if !hard && !ignore_checks {
            let window_ms = Deployment::TRAFFIC_WINDOW_MS;
            if self.last_request_ms(&deployment).is_some_and(|last_ms| now_ms() - last_ms < window_ms) {
                return Err(ServerError::FailedPrecondition(format!(
                    "{name} had requests in the last hour; set ignoreChecks to delete it all the same"
                )));
            }
            if let Some(model) = models.first() {
                return Err(ServerError::FailedPrecondition(format!(
                    "{} is loaded on {name}; delete it first, or set ignoreChecks",
                    model.name()
                )));
            }
        }
        if hard {
            return self.remove(&mut table, &deployment).await;
        }
        self.remove_models(&mut table, &models).await?;
        let deleted = self.record(account, id, |deployment| {
            deployment.deleted(now_ms());
            Ok(())
        });
        self.follow(&mut table, &deleted.await?).await
    }

    /// Removes a deployment for good, with what is loaded on it.
    async fn remove(&self, table: &mut Table, deployment: &Deployment) -> Result<(), ServerError> {
        let Deployment { account, id, .. } = deployment;
        self.remove_models(table, &self.store().deployed_models_on(account, id).await?).await?;
        self.store().delete::<Deployment>(account, id.as_str()).await?;
        table.held.remove(&Holder::of(deployment));
        self.forget_requests(deployment);
        Ok(())
    }

    /// Writes a record.
    async fn record(
        &self,
        account: &AccountId,
        id: &DeploymentId,
        change: impl FnOnce(&mut Deployment) -> Result<(), ServerError> + Send,
    ) -> Result<Deployment, ServerError> {
        let change = |deployment: &mut Deployment| {
            let before = deployment.clone();
            change(deployment)?;
            if *deployment != before {
                deployment.update_time_ms = now_ms();
            }
            Ok(())
        };
        self.store().update(account, id.as_str(), change).await
    }

    /// Deletes an installed model, unless something that is deployed needs it.
    pub(crate) async fn delete_model(&self, name: &ModelRef) -> Result<(), ServerError> {
        let _table = self.inner.table.lock().await;
        let needs = |model: &ModelRef, base: Option<&ModelRef>| model == name || base == Some(name);
        let deployments = self.store().all::<Deployment>().await?;
        let of_deployments = deployments.iter().filter(|deployment| !deployment.is_deleted());
        let of_deployments = of_deployments.filter_map(|one| Some((one.name(), one.base_model.clone()?)));
        let models = self.store().all::<DeployedModel>().await?;
        let of_models = models.iter().map(|one| (one.name(), one.model.clone()));
        for (user, model) in of_deployments.chain(of_models) {
            let base = models::base_of(self.store(), &model).await?;
            if needs(&model, base.as_ref()) {
                return Err(ServerError::FailedPrecondition(format!(
                    "model {name} is deployed: {user} needs it; delete that first"
                )));
            }
        }
        Ok(self.store().model_delete(name).await?)
    }
}
