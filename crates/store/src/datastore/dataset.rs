//! Datasets.

use hearth_domain::{AccountId, Dataset, DatasetRef};

use super::Store;
use crate::error::StoreError;
use crate::page::{ListPage, ListQuery, Source, insert_error, list, parse, record};

const KIND: &str = "dataset";

fn not_found(name: &DatasetRef) -> StoreError {
    StoreError::NotFound { kind: KIND, name: name.to_string() }
}

impl Store {
    /// Adds a dataset. `ALREADY_EXISTS` if the id is taken.
    pub async fn dataset_create(&self, dataset: &Dataset) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO dataset (account, id, create_time_ms, record) VALUES (?1, ?2, ?3, ?4)")
            .bind(dataset.account.as_str())
            .bind(dataset.id.as_str())
            .bind(dataset.create_time_ms)
            .bind(record(dataset))
            .execute(&self.pool)
            .await
            .map_err(insert_error(KIND, dataset.name().to_string()))?;
        Ok(())
    }

    /// Reads a dataset.
    pub async fn dataset_get(&self, name: &DatasetRef) -> Result<Dataset, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT record FROM dataset WHERE account = ?1 AND id = ?2")
                .bind(name.account.as_str())
                .bind(name.id.as_str())
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::Database)?;
        parse(KIND, name.id.as_str(), &found.ok_or_else(|| not_found(name))?)
    }

    /// A page of an account's datasets.
    pub async fn dataset_list(
        &self,
        account: &AccountId,
        query: &ListQuery,
    ) -> Result<ListPage<Dataset>, StoreError> {
        let source = Source { table: "dataset", kind: KIND, account: Some(account.as_str()), condition: "1" };
        list(&self.pool, source, query).await
    }

    /// Changes a dataset: reads it, lets `change` decide, writes it, all in one transaction. An error of `change`
    /// leaves it as it was. Name and creation time cannot change.
    pub async fn dataset_update(
        &self,
        name: &DatasetRef,
        change: impl FnOnce(&mut Dataset) -> Result<(), StoreError> + Send,
    ) -> Result<Dataset, StoreError> {
        let mut tx = self.begin_write().await?;
        let found: Option<String> =
            sqlx::query_scalar("SELECT record FROM dataset WHERE account = ?1 AND id = ?2")
                .bind(name.account.as_str())
                .bind(name.id.as_str())
                .fetch_optional(&mut *tx)
                .await
                .map_err(StoreError::Database)?;
        let mut dataset: Dataset = parse(KIND, name.id.as_str(), &found.ok_or_else(|| not_found(name))?)?;
        let create_time_ms = dataset.create_time_ms;
        change(&mut dataset)?;
        assert_eq!(dataset.name(), *name, "a change keeps the name");
        assert_eq!(dataset.create_time_ms, create_time_ms, "a change keeps the creation time");
        sqlx::query("UPDATE dataset SET record = ?3 WHERE account = ?1 AND id = ?2")
            .bind(name.account.as_str())
            .bind(name.id.as_str())
            .bind(record(&dataset))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::Database)?;
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(dataset)
    }

    /// Removes a dataset and then its files. Runs that have begun keep their own link to the files.
    pub async fn dataset_delete(&self, name: &DatasetRef) -> Result<(), StoreError> {
        let gone = sqlx::query("DELETE FROM dataset WHERE account = ?1 AND id = ?2")
            .bind(name.account.as_str())
            .bind(name.id.as_str())
            .execute(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        if gone.rows_affected() == 0 {
            return Err(not_found(name));
        }
        self.objects.delete_dataset(name).await
    }

    /// Removes files that no dataset has, and unfinished uploads: an earlier server was killed in the middle. Only
    /// for a server that has just started and takes no calls yet.
    pub async fn dataset_sweep(&self) -> Result<(), StoreError> {
        let known: Vec<(String, String)> = sqlx::query_as("SELECT account, id FROM dataset")
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        self.objects.sweep(&known.into_iter().collect())
    }
}
