//! Datasets.

use hearth_domain::{AccountId, Dataset, DatasetRef};

use super::Store;
use crate::error::StoreError;
use crate::page::{ListPage, ListQuery};

impl Store {
    /// Adds a dataset. `ALREADY_EXISTS` if the id is taken.
    pub async fn dataset_create(&self, dataset: &Dataset) -> Result<(), StoreError> {
        self.create(dataset).await
    }

    /// Reads a dataset.
    pub async fn dataset_get(&self, name: &DatasetRef) -> Result<Dataset, StoreError> {
        self.get(&name.account, name.id.as_str()).await
    }

    /// A page of an account's datasets.
    pub async fn dataset_list(
        &self,
        account: &AccountId,
        query: &ListQuery,
    ) -> Result<ListPage<Dataset>, StoreError> {
        self.list(account, query).await
    }

    /// Changes a dataset: see [`Store::update`].
    pub async fn dataset_update(
        &self,
        name: &DatasetRef,
        change: impl FnOnce(&mut Dataset) -> Result<(), StoreError> + Send,
    ) -> Result<Dataset, StoreError> {
        self.update(&name.account, name.id.as_str(), change).await
    }

    /// Removes a dataset and then its files. Runs that have begun keep their own link to the files.
    pub async fn dataset_delete(&self, name: &DatasetRef) -> Result<(), StoreError> {
        self.delete::<Dataset>(&name.account, name.id.as_str()).await?;
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
