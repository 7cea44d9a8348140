//! When a deployment was asked last: it decides whether it is in use, and when it gives its memory back.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use hearth_domain::{AccountId, Deployment, DeploymentId};

use hearth_store::StoreError;

use super::Deployments;
use crate::error::ServerError;
use crate::limits::REQUEST_TIME_STEP;
use crate::now_ms;

type Times = HashMap<(AccountId, DeploymentId), i64>;

impl Deployments {
    /// Notes a request. The record is written once in a while, so that a restart forgets little.
    pub(super) async fn count_request(&self, deployment: &Deployment) -> Result<(), ServerError> {
        let Deployment { account, id, .. } = deployment;
        let now_ms = now_ms();
        self.request_times().insert((account.clone(), id.clone()), now_ms);
        let step_ms = i64::try_from(REQUEST_TIME_STEP.as_millis()).unwrap_or(i64::MAX);
        if deployment.last_request_time_ms.is_some_and(|last_ms| now_ms - last_ms < step_ms) {
            return Ok(());
        }
        let change = |deployment: &mut Deployment| {
            deployment.last_request_time_ms = Some(now_ms);
            Ok::<_, ServerError>(())
        };
        match self.store().update(account, id.as_str(), change).await {
            // It was deleted at this moment.
            Err(ServerError::Store(StoreError::NotFound { .. })) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// When the last request came.
    pub(super) fn last_request_ms(&self, deployment: &Deployment) -> Option<i64> {
        let key = (deployment.account.clone(), deployment.id.clone());
        self.request_times().get(&key).copied().max(deployment.last_request_time_ms)
    }

    /// A later deployment of the same name was never asked.
    pub(super) fn forget_requests(&self, deployment: &Deployment) {
        self.request_times().remove(&(deployment.account.clone(), deployment.id.clone()));
    }

    fn request_times(&self) -> MutexGuard<'_, Times> {
        self.inner.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
