//! Models. The directories under `models/` are the truth; the table is their index, for listing and lookup. Models that
//! are being uploaded have no directory yet, and only their row.

use std::collections::BTreeMap;

use hearth_domain::{AccountId, Model, ModelAbout, ModelKind, ModelRef};
use sqlx::{Sqlite, Transaction};

use super::Store;
use super::owned::insert;
use crate::error::StoreError;
use crate::installed::{self, Installed, InstalledKind};
use crate::page::{ListPage, ListQuery, parse, record};

const KIND: &str = "model";

fn not_found(name: &ModelRef) -> StoreError {
    StoreError::NotFound { kind: KIND, name: name.to_string() }
}

/// The row of an installed model. What only the database knows (who made it) is empty.
fn model_of(installed: &Installed) -> Model {
    let manifest = &installed.manifest;
    // A job writes its name, or that of its checkpoint, as the source of what it made; everything else was imported.
    let (fine_tuning_job, imported_from) = if manifest.source.contains("/supervisedFineTuningJobs/") {
        let job = manifest.source.split("/checkpoints/").next().unwrap_or_default();
        (job.to_owned(), String::new())
    } else {
        (String::new(), manifest.source.clone())
    };
    let kind = match (manifest.kind, &manifest.base_model) {
        (InstalledKind::Adapter, Some(base_model)) => ModelKind::Adapter {
            base_model: base_model.clone(),
            r: manifest.r,
            target_modules: manifest.target_modules.clone(),
            fine_tuning_job,
        },
        _ => ModelKind::Base { parameter_count: manifest.parameter_count },
    };
    Model {
        account: installed.name.account.clone(),
        id: installed.name.id.clone(),
        display_name: manifest.display_name.clone(),
        about: ModelAbout::default(),
        upload: None,
        kind,
        context_length: manifest.context_length,
        model_type: manifest.model_type.clone(),
        imported_from,
        created_by: String::new(),
        create_time_ms: manifest.create_time_ms,
        update_time_ms: manifest.create_time_ms,
    }
}

/// The row of a model whose upload has come to its end: what people wrote about it stays.
fn settled(row: Model, installed: &Installed) -> Model {
    Model {
        display_name: row.display_name,
        about: row.about,
        created_by: row.created_by,
        update_time_ms: row.update_time_ms,
        ..model_of(installed)
    }
}

/// Writes a row, replacing one of the same name.
pub(super) async fn put(tx: &mut Transaction<'static, Sqlite>, model: &Model) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO model (account, id, create_time_ms, record) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (account, id) DO UPDATE SET create_time_ms = ?3, record = ?4",
    )
    .bind(model.account.as_str())
    .bind(model.id.as_str())
    .bind(model.create_time_ms)
    .bind(record(model))
    .execute(&mut **tx)
    .await
    .map_err(StoreError::Database)?;
    Ok(())
}

impl Store {
    /// Brings the table in line with the directories: rows for models that were installed meanwhile, no rows for
    /// those that are gone, new rows for those that were replaced or whose upload has come to its end. Returns why some
    /// models cannot be read; they have no row.
    pub async fn model_sync(&self) -> Result<Vec<StoreError>, StoreError> {
        type Name = (String, String);
        let (models, damaged) = installed::list(&self.data_dir)?;
        let on_disk: BTreeMap<Name, Installed> = models
            .into_iter()
            .map(|model| ((model.name.account.to_string(), model.name.id.to_string()), model))
            .collect();
        let rows: Vec<(String, String, i64, bool)> = sqlx::query_as(
            "SELECT account, id, create_time_ms, record ->> '$.upload' IS NOT NULL FROM model",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        let in_table: BTreeMap<Name, (i64, bool)> = rows
            .into_iter()
            .map(|(account, id, time_ms, upload)| ((account, id), (time_ms, upload)))
            .collect();
        let gone: Vec<&Name> = in_table
            .iter()
            .filter(|(name, (_, is_uploading))| !is_uploading && !on_disk.contains_key(*name))
            .map(|(name, _)| name)
            .collect();
        let new: Vec<&Installed> = on_disk
            .iter()
            .filter(|(name, model)| in_table.get(*name) != Some(&(model.manifest.create_time_ms, false)))
            .map(|(_, model)| model)
            .collect();
        if gone.is_empty() && new.is_empty() {
            return Ok(damaged);
        }
        let mut tx = self.begin_write().await?;
        for (account, id) in gone {
            sqlx::query("DELETE FROM model WHERE account = ?1 AND id = ?2")
                .bind(account)
                .bind(id)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::Database)?;
        }
        for model in new {
            let row: Option<String> = sqlx::query_scalar(
                "SELECT record FROM model WHERE account = ?1 AND id = ?2 AND create_time_ms = ?3",
            )
            .bind(model.name.account.as_str())
            .bind(model.name.id.as_str())
            .bind(model.manifest.create_time_ms)
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::Database)?;
            let row = match row {
                Some(text) => settled(parse(KIND, model.name.id.as_str(), &text)?, model),
                None => model_of(model),
            };
            put(&mut tx, &row).await?;
        }
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(damaged)
    }

    /// Adds a model whose files are still to come. `ALREADY_EXISTS` if the id is taken, in the table or on disk, or if a job
    /// that is not at its end will make a model of this name.
    pub async fn model_create(&self, model: &Model) -> Result<(), StoreError> {
        assert!(model.upload.is_some(), "an installed model gets its row from its directory");
        let mut tx = self.begin_write().await?;
        self.must_be_free(&mut tx, KIND, &model.name(), None).await?;
        insert(&mut *tx, model).await?;
        tx.commit().await.map_err(StoreError::Database)
    }

    /// Writes the row of a model that was installed just now, with what its directory does not know.
    pub async fn model_installed(&self, model: &Model) -> Result<(), StoreError> {
        assert!(model.upload.is_none(), "the row is that of an installed model");
        let mut tx = self.begin_write().await?;
        put(&mut tx, model).await?;
        tx.commit().await.map_err(StoreError::Database)
    }

    /// Reads a model, whether it is installed or being uploaded.
    pub async fn model_find(&self, name: &ModelRef) -> Result<Model, StoreError> {
        self.get(&name.account, name.id.as_str()).await
    }

    /// Changes a model: see [`Store::update`].
    pub async fn model_update(
        &self,
        name: &ModelRef,
        change: impl FnOnce(&mut Model) -> Result<(), StoreError> + Send,
    ) -> Result<Model, StoreError> {
        self.update(&name.account, name.id.as_str(), change).await
    }

    /// Every model that is being uploaded.
    pub async fn model_uploading(&self) -> Result<Vec<Model>, StoreError> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT id, record FROM model WHERE record ->> '$.upload' IS NOT NULL")
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::Database)?;
        rows.iter().map(|(id, text)| parse(KIND, id, text)).collect()
    }

    /// Reads an installed model. One that is being uploaded is not there yet.
    pub async fn model_get(&self, name: &ModelRef) -> Result<Model, StoreError> {
        let model = self.model_find(name).await?;
        if model.upload.is_some() { Err(not_found(name)) } else { Ok(model) }
    }

    /// A page of an account's models, installed and being uploaded.
    pub async fn model_list(
        &self,
        account: &AccountId,
        query: &ListQuery,
    ) -> Result<ListPage<Model>, StoreError> {
        self.list(account, query).await
    }

    /// Removes a model with its directory and what was uploaded of it.
    pub async fn model_delete(&self, name: &ModelRef) -> Result<(), StoreError> {
        self.model_find(name).await?;
        match installed::remove(&self.data_dir, &name.account, &name.id) {
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        sqlx::query("DELETE FROM model WHERE account = ?1 AND id = ?2")
            .bind(name.account.as_str())
            .bind(name.id.as_str())
            .execute(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        self.uploads.remove(name)
    }
}
