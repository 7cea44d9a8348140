//! Deployments and deployed models: those that somebody made, and those that are there by themselves.

use hearth_domain::{AccountId, DeployedModel, Deployment, DeploymentId, ModelRef};

use super::{Owned, Store};
use crate::columns::Listed;
use crate::condition::Condition;
use crate::error::StoreError;
use crate::page::{ListPage, ListQuery, Source, list, parse};

/// Those of the table, and for each account the one that is built in. Rows have a number, as those of a table have.
const DEPLOYMENTS: &str = "(SELECT rowid, account, id, create_time_ms, record FROM deployment
    UNION ALL
    SELECT -rowid, id, 'local', create_time_ms, json_object(
        'account', id, 'id', 'local', 'display_name', 'This server',
        'description', 'Answers with every model that is installed; each is loaded when it is asked for.',
        'annotations', json('{}'), 'base_model', NULL, 'state', 'ready',
        'status', json_object('code', 'OK', 'message', ''),
        'min_replica_count', 1, 'max_replica_count', 1, 'desired_replica_count', 1, 'replica_count', 1,
        'autoscaling', json_object('scale_up_window_ms', 30000, 'scale_down_window_ms', 600000,
            'scale_to_zero_window_ms', 3600000),
        'enable_addons', json('true'), 'precision', '', 'last_request_time_ms', NULL, 'created_by', '',
        'create_time_ms', create_time_ms, 'update_time_ms', create_time_ms,
        'delete_time_ms', NULL, 'purge_time_ms', NULL
    ) FROM account)";

/// Those of the table, and one for each model that answers without being loaded first: every base, and every adapter
/// whose base is there. What is being uploaded does not answer yet.
const DEPLOYED_MODELS: &str = "(SELECT rowid, account, id, create_time_ms, record FROM deployed_model
    UNION ALL
    SELECT -rowid, account, id, create_time_ms, json_object(
        'account', account, 'id', id, 'display_name', record ->> '$.display_name', 'description', '',
        'model', json_object('account', account, 'id', id), 'deployment', 'local',
        'is_default', json(iif(EXISTS (SELECT 1 FROM deployed_model AS loaded WHERE loaded.account = model.account
            AND loaded.record ->> '$.model.account' = model.account AND loaded.record ->> '$.model.id' = model.id
            AND loaded.record ->> '$.is_default'), 'false', 'true')),
        'state', 'deployed', 'status', json_object('code', 'OK', 'message', ''),
        'created_by', record ->> '$.created_by',
        'create_time_ms', create_time_ms, 'update_time_ms', record ->> '$.update_time_ms'
    ) FROM model
    WHERE NOT EXISTS (SELECT 1 FROM deployed_model AS loaded WHERE loaded.account = model.account AND loaded.id = model.id)
    AND record ->> '$.upload' IS NULL
    AND ((record ->> '$.kind.kind') = 'base' OR EXISTS (SELECT 1 FROM model AS base
        WHERE base.account = model.record ->> '$.kind.base_model.account'
        AND base.id = model.record ->> '$.kind.base_model.id' AND base.record ->> '$.upload' IS NULL)))";

impl Store {
    /// Reads a deployment, the one that is built in too.
    pub async fn deployment_get(&self, account: &AccountId, id: &str) -> Result<Deployment, StoreError> {
        self.get_of(DEPLOYMENTS, account, id).await
    }

    /// A page of an account's deployments, with the one that is built in.
    pub async fn deployment_list(
        &self,
        account: &AccountId,
        query: &ListQuery,
    ) -> Result<ListPage<Deployment>, StoreError> {
        let (listed, account) = (Listed::Deployment, Some(account.as_str()));
        let (rows, kind, shown) = (DEPLOYMENTS, Deployment::KIND, Condition::Always(true));
        list(self, Source { listed, rows, kind, account, shown }, query).await
    }

    /// Reads a deployed model, or what answers for the model of that id without being loaded first.
    pub async fn deployed_model_get(
        &self,
        account: &AccountId,
        id: &str,
    ) -> Result<DeployedModel, StoreError> {
        self.get_of(DEPLOYED_MODELS, account, id).await
    }

    /// A page of an account's deployed models; `all` adds those that nobody loaded.
    pub async fn deployed_model_list(
        &self,
        account: &AccountId,
        all: bool,
        query: &ListQuery,
    ) -> Result<ListPage<DeployedModel>, StoreError> {
        if !all {
            return self.list(account, query).await;
        }
        let (listed, account) = (Listed::DeployedModel, Some(account.as_str()));
        let (rows, kind, shown) = (DEPLOYED_MODELS, DeployedModel::KIND, Condition::Always(true));
        list(self, Source { listed, rows, kind, account, shown }, query).await
    }

    /// The deployed models of a deployment that somebody loaded, oldest first.
    pub async fn deployed_models_on(
        &self,
        account: &AccountId,
        deployment: &DeploymentId,
    ) -> Result<Vec<DeployedModel>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, record FROM deployed_model WHERE account = ?1 AND record ->> '$.deployment' = ?2
             ORDER BY create_time_ms, id",
        )
        .bind(account.as_str())
        .bind(deployment.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        rows.iter().map(|(id, text)| parse(DeployedModel::KIND, id, text)).collect()
    }

    /// The deployed models of a model that somebody loaded, in every account, oldest first.
    pub async fn deployed_models_of(&self, model: &ModelRef) -> Result<Vec<DeployedModel>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, record FROM deployed_model
             WHERE record ->> '$.model.account' = ?1 AND record ->> '$.model.id' = ?2
             ORDER BY create_time_ms, account, id",
        )
        .bind(model.account.as_str())
        .bind(model.id.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        rows.iter().map(|(id, text)| parse(DeployedModel::KIND, id, text)).collect()
    }

    /// A row of a table or of a query in its place, both fixed texts of this file.
    async fn get_of<T: Owned>(
        &self,
        table: &'static str,
        account: &AccountId,
        id: &str,
    ) -> Result<T, StoreError> {
        let sql = format!("SELECT record FROM {table} WHERE account = ?1 AND id = ?2");
        let found: Option<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .bind(account.as_str())
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        let name = || format!("accounts/{account}/{}/{id}", T::COLLECTION);
        let text = found.ok_or_else(|| StoreError::NotFound { kind: T::KIND, name: name() })?;
        parse(T::KIND, id, &text)
    }
}

#[cfg(test)]
mod tests {
    use hearth_domain::Autoscaling;

    use super::*;

    #[tokio::test]
    async fn the_built_in_one_is_a_deployment_with_the_usual_windows() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 7).await.unwrap();
        let catalogue = AccountId::new(hearth_domain::Account::CATALOGUE).unwrap();
        let local = store.deployment_get(&catalogue, Deployment::LOCAL).await.unwrap();
        assert_eq!((local.create_time_ms, local.autoscaling), (7, Autoscaling::default()));
        let page = store.deployment_list(&catalogue, &ListQuery::default()).await.unwrap();
        assert_eq!((page.total_size, &page.items[0]), (1, &local));
        let nobody = AccountId::new("nobody").unwrap();
        assert!(store.deployment_get(&nobody, Deployment::LOCAL).await.is_err());
    }
}
