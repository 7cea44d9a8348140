//! Loading: what a record wants in memory gets there, and what it does not want leaves.

use hearth_domain::{Code, DeployedModel, Deployment, ModelRef, Status};
use hearth_inference::{InferenceError, Pin};
use hearth_store::StoreError;
use tokio::sync::oneshot;

use super::{Deployments, Held, Holder, Table, model_files};
use crate::error::ServerError;
use crate::limits::MODEL_RETRY;
use crate::now_ms;

/// The status of a deployed model that is not loaded, on a deployment that is or is not.
pub(super) fn waiting(is_up: bool) -> Status {
    match is_up {
        true => Status::default(),
        false => Status::new(Code::Unavailable, "its deployment is not loaded; it is loaded with it"),
    }
}

impl Deployments {
    /// Loads or lets go what belongs to a deployment, as its record says.
    pub(super) async fn follow(&self, table: &mut Table, deployment: &Deployment) -> Result<(), ServerError> {
        if !deployment.is_loading() && !deployment.is_up() {
            table.held.remove(&Holder::of(deployment));
        } else if let Some(base_model) = &deployment.base_model {
            self.load(table, Holder::of(deployment), base_model);
        }
        for model in self.store().deployed_models_on(&deployment.account, &deployment.id).await? {
            self.follow_model(table, deployment.is_up(), &model).await?;
        }
        Ok(())
    }

    /// The same for a deployed model. The receiver is told how it went, if a load began.
    pub(super) async fn follow_model(
        &self,
        table: &mut Table,
        is_up: bool,
        model: &DeployedModel,
    ) -> Result<Option<oneshot::Receiver<Status>>, ServerError> {
        let holder = Holder::of_model(model);
        if is_up {
            return Ok(self.load(table, holder, &model.model));
        }
        if table.held.remove(&holder).is_some() {
            self.model_record(&model.account, &model.id, |model| model.waits(waiting(false))).await?;
        }
        Ok(None)
    }

    /// Begins a load, unless it has begun already.
    fn load(&self, table: &mut Table, holder: Holder, model: &ModelRef) -> Option<oneshot::Receiver<Status>> {
        if table.held.contains_key(&holder) {
            return None;
        }
        table.attempts += 1;
        let attempt = table.attempts;
        table.held.insert(holder.clone(), Held { attempt, _pin: None, since_ms: 0 });
        let (tell, told) = oneshot::channel();
        let (this, model) = (self.clone(), model.clone());
        tokio::spawn(async move {
            let pin = this.pin(&model).await;
            let status = pin.as_ref().map_or_else(Clone::clone, |_| Status::default());
            if let Err(error) = this.loaded(holder, attempt, pin).await {
                tracing::error!(%error, "what became of a load could not be written");
            }
            // Nobody may wait for it.
            let _ = tell.send(status);
        });
        Some(told)
    }

    /// Loads a model and keeps it loaded.
    async fn pin(&self, model: &ModelRef) -> Result<Pin, Status> {
        let _place = self.inner.loads.acquire().await.expect("nobody closes it");
        let failed = |error: ServerError| {
            tracing::error!(%error, %model, "a model could not be looked up");
            Status::new(Code::Internal, crate::error::INTERNAL_MESSAGE)
        };
        if self.inner.stop.is_cancelled() {
            return Err(Status::new(Code::Unavailable, "the server stops"));
        }
        let Some((_, files)) = model_files(self.store(), model).await.map_err(failed)? else {
            return Err(Status::new(
                Code::FailedPrecondition,
                format!("{model} or its base is not installed"),
            ));
        };
        let inference = self.inner.inference.clone();
        match tokio::task::spawn_blocking(move || inference.pin(&files)).await {
            Ok(Ok(pin)) => Ok(pin),
            Ok(Err(error)) => Err(status(model, &error)),
            Err(error) => Err(failed(ServerError::internal("loading a model", error))),
        }
    }

    /// Takes in what came of a load, if it is still wanted.
    async fn loaded(
        &self,
        holder: Holder,
        attempt: u64,
        pin: Result<Pin, Status>,
    ) -> Result<(), ServerError> {
        let mut table = self.inner.table.lock().await;
        if table.held.get(&holder).is_none_or(|held| held.attempt != attempt) {
            return Ok(());
        }
        let status = match pin {
            Ok(pin) => {
                table.held.insert(holder.clone(), Held { attempt, _pin: Some(pin), since_ms: now_ms() });
                None
            }
            Err(status) => {
                table.held.remove(&holder);
                Some(status)
            }
        };
        match &holder {
            Holder::Deployment(account, id) => {
                let deployment = self.record(account, id, |deployment| {
                    match status {
                        None => deployment.loaded(),
                        Some(status) => deployment.failed(status),
                    }
                    Ok(())
                });
                self.follow(&mut table, &deployment.await?).await
            }
            Holder::Model(account, id) => {
                let change = |model: &mut DeployedModel| match status {
                    None => model.loaded(),
                    Some(status) => model.waits(status),
                };
                self.model_record(account, id, change).await.map(|_| ())
            }
        }
    }

    /// Loads those deployed models once more that could not be loaded a while ago.
    pub(super) async fn retry_models(&self, now_ms: i64) -> Result<(), ServerError> {
        let retry_ms = i64::try_from(MODEL_RETRY.as_millis()).unwrap_or(i64::MAX);
        for model in self.store().all::<DeployedModel>().await? {
            let mut table = self.inner.table.lock().await;
            // It may be gone, or loaded, since the list was read.
            let model = match self.store().get::<DeployedModel>(&model.account, model.id.as_str()).await {
                Ok(model) => model,
                Err(StoreError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if table.held.contains_key(&Holder::of_model(&model)) || now_ms - model.update_time_ms < retry_ms
            {
                continue;
            }
            let deployment = self.store().deployment_get(&model.account, model.deployment.as_str()).await?;
            self.follow_model(&mut table, deployment.is_up(), &model).await?;
        }
        Ok(())
    }

    /// What is loaded or being loaded.
    #[cfg(test)]
    pub(super) async fn held(&self) -> usize {
        self.inner.table.lock().await.held.len()
    }
}

/// Why a load failed, without what only the log may have.
fn status(model: &ModelRef, error: &InferenceError) -> Status {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, source, %model, "a model could not be loaded");
    match error {
        InferenceError::MemoryLimit { .. } => Status::new(Code::ResourceExhausted, error.to_string()),
        _ => Status::new(
            Code::FailedPrecondition,
            format!(
                "{model} could not be loaded: its files are damaged, missing, or of a kind that this server cannot run"
            ),
        ),
    }
}
