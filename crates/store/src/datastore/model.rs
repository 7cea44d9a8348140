//! Models. The directories under `models/` are the truth; the table is their index, for listing and lookup.

use std::collections::BTreeMap;

use hearth_domain::{AccountId, Model, ModelKind, ModelRef};
use sqlx::{Sqlite, Transaction};

use super::Store;
use crate::error::StoreError;
use crate::installed::{self, Installed, InstalledKind};
use crate::page::{ListPage, ListQuery, Source, list, parse, record};

const KIND: &str = "model";

fn not_found(name: &ModelRef) -> StoreError {
    StoreError::NotFound { kind: KIND, name: name.to_string() }
}

/// The row of an installed model. What only the database knows (who made it) is empty.
fn model_of(installed: &Installed) -> Model {
    let manifest = &installed.manifest;
    // A job writes its name as the source of what it made; everything else was imported.
    let by_job = manifest.source.contains("/supervisedFineTuningJobs/");
    let (fine_tuning_job, imported_from) = if by_job {
        (manifest.source.clone(), String::new())
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
        kind,
        context_length: manifest.context_length,
        model_type: manifest.model_type.clone(),
        imported_from,
        created_by: String::new(),
        create_time_ms: manifest.create_time_ms,
        update_time_ms: manifest.create_time_ms,
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
    /// those that are gone, new rows for those that were replaced. Returns why some models cannot be read; they have
    /// no row.
    pub async fn model_sync(&self) -> Result<Vec<StoreError>, StoreError> {
        type Name = (String, String);
        let (models, damaged) = installed::list(&self.data_dir)?;
        let on_disk: BTreeMap<Name, Installed> = models
            .into_iter()
            .map(|model| ((model.name.account.to_string(), model.name.id.to_string()), model))
            .collect();
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT account, id, create_time_ms FROM model")
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::Database)?;
        let in_table: BTreeMap<Name, i64> =
            rows.into_iter().map(|(account, id, time_ms)| ((account, id), time_ms)).collect();
        let gone: Vec<&Name> = in_table.keys().filter(|name| !on_disk.contains_key(*name)).collect();
        let new: Vec<&Installed> = on_disk
            .iter()
            .filter(|(name, model)| in_table.get(*name) != Some(&model.manifest.create_time_ms))
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
            put(&mut tx, &model_of(model)).await?;
        }
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(damaged)
    }

    /// Reads a model.
    pub async fn model_get(&self, name: &ModelRef) -> Result<Model, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT record FROM model WHERE account = ?1 AND id = ?2")
                .bind(name.account.as_str())
                .bind(name.id.as_str())
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::Database)?;
        parse(KIND, name.id.as_str(), &found.ok_or_else(|| not_found(name))?)
    }

    /// A page of an account's models.
    pub async fn model_list(
        &self,
        account: &AccountId,
        query: &ListQuery,
    ) -> Result<ListPage<Model>, StoreError> {
        let source = Source {
            table: "model",
            kind: KIND,
            account: Some(account.as_str()),
            condition: "1",
            index: None,
        };
        list(&self.pool, source, query).await
    }

    /// A page of an account's models that can answer: bases, and adapters whose base is there.
    pub async fn model_list_deployed(
        &self,
        account: &AccountId,
        query: &ListQuery,
    ) -> Result<ListPage<Model>, StoreError> {
        let condition = "((record ->> '$.kind.kind') = 'base' OR EXISTS (SELECT 1 FROM model AS base
            WHERE base.account = model.record ->> '$.kind.base_model.account'
            AND base.id = model.record ->> '$.kind.base_model.id'))";
        let source =
            Source { table: "model", kind: KIND, account: Some(account.as_str()), condition, index: None };
        list(&self.pool, source, query).await
    }

    /// Removes a model and its directory.
    pub async fn model_delete(&self, name: &ModelRef) -> Result<(), StoreError> {
        self.model_get(name).await?;
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
        Ok(())
    }
}
