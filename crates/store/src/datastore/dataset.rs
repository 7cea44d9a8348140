//! Datasets.

use hearth_domain::{AccountId, Dataset, DatasetRef};

use super::Store;
use super::owned::insert;
use crate::error::StoreError;
use crate::objects::ObjectKey;
use crate::page::{ListPage, ListQuery};
use crate::staging::{StagedFile, Staging, move_in};

/// A dataset that begins with its files.
#[derive(Debug)]
pub struct NewDataset {
    /// Its record.
    pub dataset: Dataset,
    /// What belongs in the places of the record's files, in the same order.
    pub files: Vec<StagedFile>,
}

impl NewDataset {
    fn places(self) -> Result<Vec<(ObjectKey, StagedFile)>, StoreError> {
        assert_eq!(self.dataset.files.len(), self.files.len(), "every file of the record was made");
        let name = self.dataset.name();
        let key = |file: &hearth_domain::DatasetFile| ObjectKey::dataset_file(&name, &file.name);
        self.dataset.files.iter().zip(self.files).map(|(record, file)| Ok((key(record)?, file))).collect()
    }
}

impl Store {
    /// Adds a dataset. `ALREADY_EXISTS` if the id is taken.
    pub async fn dataset_create(&self, dataset: &Dataset) -> Result<(), StoreError> {
        self.create(dataset).await
    }

    /// Adds datasets together with their files, out of one staging directory: all of them, or none, whatever happens in
    /// between. `ALREADY_EXISTS` names the first whose id is taken.
    pub async fn dataset_create_whole(
        &self,
        new: Vec<NewDataset>,
        staging: Staging,
    ) -> Result<(), StoreError> {
        // Nobody else can make these datasets, or files for them, until the transaction ends; and a server that dies
        // before it leaves files without a record, which the next one sweeps.
        let mut tx = self.begin_write().await?;
        for one in &new {
            insert(&mut *tx, &one.dataset).await?;
        }
        let names: Vec<DatasetRef> = new.iter().map(|one| one.dataset.name()).collect();
        let objects = self.objects.clone();
        let moving = tokio::task::spawn_blocking(move || {
            let mut places = Vec::new();
            for one in new {
                places.extend(one.places()?);
            }
            let moved = move_in(&objects, &places);
            drop(staging);
            moved
        });
        let moved = moving.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        if let Err(error) = moved {
            for name in &names {
                // What stays is swept at the next start.
                let _ = self.objects.delete_dataset(name).await;
            }
            return Err(error);
        }
        tx.commit().await.map_err(StoreError::Database)
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
